//! The server's routes over real HTTP, each with real content behind it.

mod demo;
mod esplora;
mod gateway;
mod http;
