//! Browser module of Rillpay: translates between JavaScript and `rillpay-channel`.
