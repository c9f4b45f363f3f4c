//! Justice kits for a watchtower: an extension of Rillpay's own, odd so that others may ignore it. Specified in
//! docs/lightning.md.

use super::Extension;

/// The optional feature bit of a watchtower. The even one below it is never set: nobody insists.
pub const JUSTICE_KITS: usize = 1_173;

message! {
    /// Asks a watchtower to keep a kit until its commitment is broadcast, in place of an earlier one for the same.
    TowerStore = 33_003 {
        /// Which request it is: the answer repeats it.
        id: u64,
        /// Which kits belong together, and are forgotten together: those of one channel.
        group: [u8; 16],
        /// What the kit waits for.
        hint: [u8; 16],
        /// The kit, sealed.
        kit: Vec<u8>,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// Asks a watchtower to forget the sender's kits of one group.
    TowerForget = 33_005 {
        /// Which request it is.
        id: u64,
        /// Which kits.
        group: [u8; 16],
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// The watchtower has done what was asked of it, durably.
    TowerDone = 33_007 {
        /// Which request it was.
        id: u64,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

message! {
    /// The watchtower has not done what was asked of it.
    TowerRefused = 33_009 {
        /// Which request it was.
        id: u64,
        /// Why not: [`TowerRefused::NO_ROOM`], [`TowerRefused::TOO_LARGE`] or [`TowerRefused::NOT_NOW`].
        reason: u16,
        /// Nothing is defined.
        tlvs: Extension,
    }
}

impl TowerRefused {
    /// The sender, or the tower, has as many kits as may be.
    pub const NO_ROOM: u16 = 1;
    /// No kit is that large.
    pub const TOO_LARGE: u16 = 2;
    /// The tower's store fails at the moment.
    pub const NOT_NOW: u16 = 3;
}
