//! The curve library's table, made where it is needed instead of downloaded.
//!
//! To multiply the generator, libsecp256k1 adds up points out of a table: 32 KB of what looks like noise, so that no
//! compression helps; it was a seventh of what a page downloads. The points follow from a rule of a few lines. In the
//! browser this crate stands in for the library's table, and follows the rule at the start.
//!
//! A wrong table would make signatures that give the key away. So the table is compared with the hash of the one that
//! the library ships, and without that very table nothing is ever signed. The library could have been built for another
//! one, of another size. So it has to give the right public key once, before it is used for anything.

#[cfg(target_arch = "wasm32")]
mod symbol;

use bitcoin::hashes::{Hash, sha256};
use bitcoin::secp256k1::constants::GENERATOR_X;
use bitcoin::secp256k1::{All, PublicKey, Secp256k1};

/// A context of the curve library, with the table that it needs. No other way to make one is allowed in code that a
/// browser runs.
///
/// # Panics
/// As [`table`]; and where the library was built for another one.
#[expect(clippy::disallowed_methods, reason = "the place that all others are to use")]
pub fn context() -> Secp256k1<All> {
    #[cfg(target_arch = "wasm32")]
    {
        static SOUND: std::sync::Once = std::sync::Once::new();

        symbol::make_table();
        SOUND.call_once(|| check(&Secp256k1::new()));
    }
    Secp256k1::new()
}

/// Makes sure that the library multiplies the generator by the table that is made here, as signing does.
///
/// # Panics
/// If it does not: then nothing must ever be signed with it.
#[cfg(any(target_arch = "wasm32", test))]
fn check(context: &Secp256k1<All>) {
    // BIP-0032, test vector 1, the master key.
    let secret = "e8f32e723decf4051aefac8e2c93c9c5b214313817cdb01a1494b917c8436b35";
    let public = "0339a36013301597daef41fbe593a02cc513d0b55527ec2df1050e2e8ff49c85c2";
    let secret: bitcoin::secp256k1::SecretKey = secret.parse().expect("a constant below the order of the curve");
    assert_eq!(secret.public_key(context).to_string(), public, "the curve library was built for another table");
}

/// The library's `ECMULT_GEN_PREC_N(2)`: one row for each two bits of a scalar.
const ROWS: usize = 128;
/// `ECMULT_GEN_PREC_G(2)`.
const COLUMNS: usize = 4;

/// A point as the library stores it: both coordinates, the least byte first.
pub type Point = [u8; 64];

/// SHA-256 of the table in `precomputed_ecmult_gen.c` of libsecp256k1 0.4.1, which secp256k1-sys 0.10 carries, for
/// `ECMULT_GEN_PREC_BITS == 2`.
const TABLE_HASH: &str = "5e61a722fa5abb6f4b0e1f5ec5c904b77af7c1e683176f5099c3fff765135c70";

/// The table by the rule in the library's `ecmult_gen_compute_table_impl.h`: column *i* of row *j* is
/// `i * 4^j * G + U_j`, where the `U_j` hide a scalar's zeros and add up to nothing.
///
/// # Panics
/// If it is not the library's own: then nothing must ever be signed with it.
pub fn table() -> Vec<Point> {
    let generator = even(&GENERATOR_X);
    // No one knows this point's logarithm: nothing up the sleeve.
    let start = sum(&even(b"The scalar for this x is unknown"), &generator);
    let (mut base, mut offset) = (generator, start);
    let mut table = Vec::with_capacity(ROWS.saturating_mul(COLUMNS));
    for row in 1..=ROWS {
        let mut point = offset;
        for _ in 0..COLUMNS {
            table.push(stored(&point));
            point = sum(&point, &base);
        }
        base = double(&double(&base));
        offset = double(&offset);
        if row == ROWS.saturating_sub(1) {
            offset = sum(&start, &negative(&offset));
        }
    }
    assert_eq!(sha256::Hash::hash(table.as_flattened()).to_string(), TABLE_HASH, "the curve's table is damaged");
    table
}

/// The point with this abscissa and an even ordinate. The generator is one, too.
fn even(x: &[u8; 32]) -> PublicKey {
    let mut bytes = [2; 33];
    bytes[1..].copy_from_slice(x);
    PublicKey::from_slice(&bytes).expect("two constants, both on the curve")
}

fn sum(one: &PublicKey, other: &PublicKey) -> PublicKey {
    one.combine(other).expect("none of the rule's sums is the point at infinity")
}

fn double(point: &PublicKey) -> PublicKey {
    sum(point, point)
}

fn negative(point: &PublicKey) -> PublicKey {
    let mut bytes = point.serialize();
    // 2 for an even ordinate, 3 for an odd one.
    bytes[0] ^= 1;
    PublicKey::from_slice(&bytes).expect("the negative of a point is a point")
}

fn stored(point: &PublicKey) -> Point {
    let [_, mut bytes @ ..] = point.serialize_uncompressed();
    let (x, y) = bytes.split_at_mut(32);
    x.reverse();
    y.reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_gives_the_known_key() {
        check(&context());
    }

    #[test]
    fn the_rule_gives_the_library_s_table() {
        assert_eq!(table().len(), ROWS * COLUMNS);
    }
}
