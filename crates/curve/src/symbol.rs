//! Takes the place of the C library's table at link time.
//!
//! The library has the table in an object file of its own, which the linker leaves out where the symbol is defined
//! already. This one begins as zeros, which a module does not store.

#![allow(unsafe_code, reason = "binds a symbol of C code")]

use std::cell::UnsafeCell;
use std::sync::Once;

use crate::{COLUMNS, Point, ROWS, table};

// The library reads words of 32 bits.
#[repr(C, align(8))]
struct Table(UnsafeCell<[Point; ROWS * COLUMNS]>);

// SAFETY: written once, by `make_table`, before the library's first context is made; only read after that.
unsafe impl Sync for Table {}

#[unsafe(export_name = "rustsecp256k1_v0_10_0_ecmult_gen_prec_table")]
static TABLE: Table = Table(UnsafeCell::new([[0; 64]; ROWS * COLUMNS]));

static MADE: Once = Once::new();

/// Makes the table. Has to come before the first context of the library: nothing can be multiplied without it.
///
/// # Panics
/// If what comes out is not the library's table.
pub(crate) fn make_table() {
    MADE.call_once(|| {
        let made = table();
        // SAFETY: `call_once` lets one writer in, and nobody reads before it returns.
        let place = unsafe { &mut *TABLE.0.get() };
        place.copy_from_slice(&made);
    });
}
