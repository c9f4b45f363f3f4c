//! Feature bits (BOLT 9): what a peer can do, and what it insists on.
//!
//! Bits come in pairs: the even one means *required*, the odd one above it *optional*. It is all right to be odd: an
//! unknown odd bit is ignored, an unknown even one ends the acquaintance.

use std::fmt;

use crate::codec::{Reader, Wire, Writer};
use crate::error::{Code, Error};
use crate::tlv::Record;

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal, $contexts:literal, [$($needs:ident)*];)*) => {
        /// A feature that BOLT 9 names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Feature { $($(#[$doc])* $name,)* }

        impl Feature {
            /// Every feature, by rising bit.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The even bit: required. The optional one is the next.
            pub const fn bit(self) -> usize {
                match self { $(Self::$name => $bit,)* }
            }

            /// The name in BOLT 9.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Where BOLT 9 lets it be presented, in its letters: `I` in `init`, `N` in `node_announcement`, `C` in
            /// `channel_announcement`, `9` in invoices, `B` in blinded paths, `T` in channel types. Empty where
            /// BOLT 9's column is.
            pub const fn contexts(self) -> &'static str {
                match self { $(Self::$name => $contexts,)* }
            }

            /// The features without which it may not be set. They may have such of their own.
            pub const fn dependencies(self) -> &'static [Self] {
                match self { $(Self::$name => &[$(Self::$needs,)*],)* }
            }
        }
    };
}

features! {
    /// Assumed of all nodes.
    DataLossProtect = 0, "option_data_loss_protect", "", [];
    /// Commits to a shutdown script when opening a channel.
    UpfrontShutdownScript = 4, "option_upfront_shutdown_script", "IN", [];
    /// Has useful gossip to share.
    GossipQueries = 6, "gossip_queries", "", [];
    /// Assumed of all nodes.
    VarOnionOptin = 8, "var_onion_optin", "", [];
    /// Gossip queries can include additional information.
    GossipQueriesEx = 10, "gossip_queries_ex", "IN", [];
    /// Assumed of all nodes.
    StaticRemotekey = 12, "option_static_remotekey", "", [];
    /// Assumed of all nodes.
    PaymentSecret = 14, "payment_secret", "", [];
    /// Can receive payments in parts.
    BasicMpp = 16, "basic_mpp", "IN9", [PaymentSecret];
    /// Can create large channels.
    SupportLargeChannel = 18, "option_support_large_channel", "IN", [];
    /// Commitments with anchors, and HTLC transactions without a fee of their own.
    Anchors = 22, "option_anchors", "INT", [];
    /// Supports blinded paths.
    RouteBlinding = 24, "option_route_blinding", "IN9", [];
    /// Future SegWit versions are allowed in `shutdown`.
    ShutdownAnysegwit = 26, "option_shutdown_anysegwit", "IN", [];
    /// Version 2 of opening channels, which both sides can fund.
    DualFund = 28, "option_dual_fund", "IN", [];
    /// Understands `stfu`.
    Quiesce = 34, "option_quiesce", "IN", [];
    /// Says in failed and fulfilled HTLCs who held them how long.
    AttributionData = 36, "option_attribution_data", "IN9", [];
    /// Can forward onion messages.
    OnionMessages = 38, "option_onion_messages", "IN", [];
    /// Stores other nodes' encrypted backups.
    ProvideStorage = 42, "option_provide_storage", "IN", [];
    /// Assumed of all nodes.
    ChannelType = 44, "option_channel_type", "", [];
    /// Supplies aliases of channels for routing.
    ScidAlias = 46, "option_scid_alias", "INT", [];
    /// Payment metadata in its TLV record.
    PaymentMetadata = 48, "option_payment_metadata", "9", [];
    /// Understands channels that are used before they confirm.
    Zeroconf = 50, "option_zeroconf", "INT", [ScidAlias];
    /// Simplified closing negotiation.
    SimpleClose = 60, "option_simple_close", "IN", [ShutdownAnysegwit];
    /// Replaces a funding transaction by a new one.
    Splice = 62, "option_splice", "IN", [];
}

impl Feature {
    /// Whether all nodes are assumed to have it, set or not.
    pub const fn is_assumed(self) -> bool {
        matches!(
            self,
            Self::DataLossProtect
                | Self::VarOnionOptin
                | Self::StaticRemotekey
                | Self::PaymentSecret
                | Self::ChannelType
        )
    }
}

/// A set of feature bits, as the bytes it came in: bit 0 is the lowest bit of the last byte.
///
/// Two sets of the same bits may differ in leading zero bytes, which signed announcements must keep;
/// [`Features::minimal`] makes them equal.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Features(Vec<u8>);

impl Features {
    /// The set in these bytes, the highest bits first.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same set without leading zero bytes.
    #[must_use]
    pub fn minimal(&self) -> Self {
        Self(self.0.iter().copied().skip_while(|byte| *byte == 0).collect())
    }

    /// The set with this feature offered but not insisted on.
    #[must_use]
    pub fn with_optional(self, feature: Feature) -> Self {
        self.with_bit(feature.bit() | 1)
    }

    /// The set with this feature required.
    #[must_use]
    pub fn with_required(self, feature: Feature) -> Self {
        self.with_bit(feature.bit())
    }

    /// The set with this bit. Bits from 524,280 on have no room in any message, so they are left out.
    #[must_use]
    pub fn with_bit(mut self, bit: usize) -> Self {
        let byte = bit / 8;
        if byte >= usize::from(u16::MAX) {
            return self;
        }
        if self.0.len() <= byte {
            let mut longer = vec![0; byte.saturating_add(1).saturating_sub(self.0.len())];
            longer.append(&mut self.0);
            self.0 = longer;
        }
        if let Some(byte) = self.0.iter_mut().rev().nth(byte) {
            *byte |= 1 << (bit % 8);
        }
        self
    }

    /// Whether this bit is set.
    pub fn has_bit(&self, bit: usize) -> bool {
        self.0.iter().rev().nth(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }

    /// Whether the feature is offered, optionally or not.
    pub fn offers(&self, feature: Feature) -> bool {
        self.has_bit(feature.bit()) || self.has_bit(feature.bit() | 1)
    }

    /// Whether the feature is required. Where both bits are set, it is (BOLT 9).
    pub fn requires(&self, feature: Feature) -> bool {
        self.has_bit(feature.bit())
    }

    /// The bits that are set, rising.
    pub fn bits(&self) -> impl Iterator<Item = usize> {
        let bytes = self.0.iter().rev().enumerate();
        bytes.flat_map(|(n, byte)| {
            (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| n.saturating_mul(8) | bit)
        })
    }

    /// All bits of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let (longer, shorter) = if self.0.len() < other.0.len() { (other, self) } else { (self, other) };
        let mut union = longer.0.clone();
        for (byte, more) in union.iter_mut().rev().zip(shorter.0.iter().rev()) {
            *byte |= more;
        }
        Self(union)
    }

    /// The bits that old nodes repeat in `init`'s first field: 0 to 13.
    pub(crate) fn legacy(&self) -> Self {
        let skip = self.0.len().saturating_sub(2);
        let mut low = self.0.get(skip..).unwrap_or_default().to_vec();
        if let [high, _] = low.as_mut_slice() {
            *high &= 0x3f;
        }
        Self(low)
    }

    /// Whether every feature that is set has what it builds on.
    ///
    /// # Errors
    /// [`Code::MissingDependency`], with the bit of the feature that lacks it.
    pub fn check_dependencies(&self) -> Result<(), Error> {
        for feature in Feature::ALL.iter().filter(|feature| self.offers(**feature)) {
            if feature.dependencies().iter().any(|needed| !needed.is_assumed() && !self.offers(*needed)) {
                return Err(
                    Error::new(Code::MissingDependency, "a feature without one it builds on").at_bit(feature.bit())
                );
            }
        }
        Ok(())
    }

    /// Whether we, with these features, can talk to a peer with those: it insists on nothing that we do not offer, we on
    /// nothing that it does not, and its set is well formed. Run it on the peer's `init`; what was negotiated is then
    /// [`Features::negotiated`].
    ///
    /// # Errors
    /// [`Code::UnknownFeature`] with the bit, [`Code::MissingDependency`].
    pub fn check_peer(&self, theirs: &Self) -> Result<(), Error> {
        let insists = |side: &Self, other: &Self| {
            side.bits().filter(|bit| bit % 2 == 0).find(|bit| {
                let assumed = Feature::ALL.iter().any(|feature| feature.bit() == *bit && feature.is_assumed());
                !assumed && !other.has_bit(*bit) && !other.has_bit(bit | 1)
            })
        };
        if let Some(bit) = insists(theirs, self) {
            return Err(
                Error::new(Code::UnknownFeature, "the peer requires a feature that we do not offer").at_bit(bit)
            );
        }
        theirs.check_dependencies()?;
        if let Some(bit) = insists(self, theirs) {
            return Err(Error::new(Code::UnknownFeature, "the peer lacks a feature that we require").at_bit(bit));
        }
        Ok(())
    }

    /// Whether a feature holds between us and a peer that passed [`Features::check_peer`]: both offer it, or all nodes are
    /// assumed to have it.
    pub fn negotiated(&self, theirs: &Self, feature: Feature) -> bool {
        feature.is_assumed() || (self.offers(feature) && theirs.offers(feature))
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.bits()).finish()
    }
}

/// The bytes behind a two-byte length.
impl Wire for Features {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.read().map(Self)
    }

    fn write(&self, writer: &mut Writer) {
        writer.write(&self.0);
    }
}

/// All bytes of the record are the set.
impl Record for Features {
    fn from_value(value: &[u8]) -> Result<Self, Error> {
        Ok(Self(value.to_vec()))
    }

    fn write_value(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_is_that_of_bolt_9() {
        for (n, feature) in Feature::ALL.iter().enumerate() {
            assert_eq!(feature.bit() % 2, 0);
            assert!(Feature::ALL[n + 1..].iter().all(|later| later.bit() > feature.bit()));
            assert!(!feature.is_assumed() || feature.contexts().is_empty());
            assert!(feature.dependencies().iter().all(|needed| needed != feature));
        }
        assert_eq!(Feature::ALL.iter().filter(|feature| feature.is_assumed()).count(), 5);
    }

    #[test]
    fn bits_grow_from_the_last_byte() {
        let features = Features::default().with_optional(Feature::Anchors).with_required(Feature::StaticRemotekey);
        assert_eq!(features.as_bytes(), [0x80, 0x10, 0x00]);
        assert_eq!(features.bits().collect::<Vec<_>>(), [12, 23]);
        assert!(features.requires(Feature::StaticRemotekey) && features.offers(Feature::StaticRemotekey));
        assert!(!features.requires(Feature::Anchors) && features.offers(Feature::Anchors));
        assert!(!features.offers(Feature::Splice) && !features.has_bit(usize::MAX));
        // The last bit that a two-byte length has room for, and the next.
        assert_eq!(Features::default().with_bit(524_279).as_bytes().len(), 65535);
        assert_eq!(Features::default().with_bit(524_280), Features::default());
        assert_eq!(Features::default().with_bit(usize::MAX), Features::default());
    }

    #[test]
    fn it_is_all_right_to_be_odd() {
        let ours = Features::default().with_optional(Feature::Anchors);
        ours.check_peer(&Features::default().with_bit(1001).with_required(Feature::Anchors)).unwrap();
        let error = ours.check_peer(&Features::default().with_bit(1000)).unwrap_err();
        assert_eq!((error.code(), error.bit()), (Code::UnknownFeature, Some(1000)));
        // A feature with a name that we do not offer is as foreign as one without.
        let error = ours.check_peer(&Features::default().with_required(Feature::DualFund)).unwrap_err();
        assert_eq!((error.code(), error.bit()), (Code::UnknownFeature, Some(28)));
        let insistent = Features::default().with_required(Feature::Anchors);
        let error = insistent.check_peer(&Features::default()).unwrap_err();
        assert_eq!((error.code(), error.bit()), (Code::UnknownFeature, Some(22)));
        // What all nodes are assumed to have needs no bit.
        ours.check_peer(&Features::default().with_required(Feature::StaticRemotekey)).unwrap();
    }

    #[test]
    fn dependencies_are_set_or_assumed() {
        Features::default().with_optional(Feature::BasicMpp).check_dependencies().unwrap();
        let zeroconf = Features::default().with_optional(Feature::Zeroconf);
        let error = zeroconf.check_dependencies().unwrap_err();
        assert_eq!((error.code(), error.bit()), (Code::MissingDependency, Some(50)));
        zeroconf.with_required(Feature::ScidAlias).check_dependencies().unwrap();
        let close = Features::default().with_optional(Feature::SimpleClose);
        assert_eq!(close.clone().check_peer(&close).unwrap_err().code(), Code::MissingDependency);
        close.with_optional(Feature::ShutdownAnysegwit).check_dependencies().unwrap();
    }

    #[test]
    fn what_both_offer_is_negotiated() {
        let one = Features::default().with_optional(Feature::DualFund).with_required(Feature::Quiesce);
        let other = Features::default().with_required(Feature::DualFund);
        assert!(one.negotiated(&other, Feature::DualFund) && other.negotiated(&one, Feature::DualFund));
        assert!(!one.negotiated(&other, Feature::Quiesce));
        assert!(one.negotiated(&other, Feature::StaticRemotekey));
    }

    proptest! {
        #[test]
        fn sets_of_any_bytes_behave(one: Vec<u8>, other: Vec<u8>, bit in 0_usize..3000) {
            let (one, other) = (Features::from_bytes(one), Features::from_bytes(other));
            let union = one.union(&other);
            prop_assert_eq!(union.has_bit(bit), one.has_bit(bit) || other.has_bit(bit));
            prop_assert!(one.minimal().bits().eq(one.bits()));
            let more = one.clone().with_bit(bit);
            prop_assert!(more.has_bit(bit) && one.bits().all(|bit| more.has_bit(bit)));
            prop_assert_eq!(one.minimal().bits().fold(Features::default(), Features::with_bit), one.minimal());
            prop_assert!(one.legacy().bits().eq(one.bits().filter(|bit| *bit < 14)));
            let _ = one.check_peer(&other);
        }
    }
}
