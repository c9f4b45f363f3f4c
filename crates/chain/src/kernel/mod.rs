//! Bitcoin Core's own validation code inside this process, on regtest.
