//! Bytes as a supply of choices.

/// Hands out choices until the bytes are used up; from then on every choice is zero.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn i8(&mut self) -> i8 {
        i8::from_be_bytes([self.u8()])
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.u8())
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.u8()) % from.len()]
    }

    /// A number of any magnitude, with the borders of its types among them.
    pub(crate) fn u64(&mut self) -> u64 {
        match self.u8() % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => u64::from(u32::MAX) + u64::from(self.u8()),
            3 => bitcoin::Amount::MAX_MONEY.to_sat().saturating_add(self.u8().into()),
            4 => u64::from(self.u8()),
            5 => u64::from(self.u16()),
            _ => u64::from_be_bytes(self.array()) >> (self.u8() % 64),
        }
    }

    /// Up to `max` bytes.
    pub(crate) fn bytes(&mut self, max: usize) -> Vec<u8> {
        let wanted = usize::from(self.u16()) % (max + 1);
        (0..wanted).map(|_| self.u8()).collect()
    }

    /// What is left.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }
}
