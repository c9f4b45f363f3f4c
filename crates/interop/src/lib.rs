//! Nothing but tests, and a benchmark: Rillpay's Lightning rooms against nodes that others wrote. They have a crate of their own because
//! those nodes are large, and whoever tests one of the rooms should not wait for them.
