//! PURE: Huffman codes of bounded length, and a writer of bits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Up to 32 bits; the lowest one is written first.
#[derive(Clone, Copy)]
pub(super) struct Bits {
    bits: u32,
    count: u32,
}

impl Bits {
    /// The lowest `count` bits; the bits above must be zero.
    pub(super) const fn new(bits: u32, count: u32) -> Self {
        Self { bits, count }
    }

    /// How many bits there are.
    pub(super) const fn count(self) -> u32 {
        self.count
    }

    /// These bits, followed by others.
    pub(super) const fn then(self, behind: Self) -> Self {
        Self {
            bits: self.bits | behind.bits << self.count,
            count: self.count + behind.count,
        }
    }
}

/// A canonical Huffman code: the bits of each symbol. A symbol that does not occur has none.
pub(super) struct Huffman<const SYMBOLS: usize>([Bits; SYMBOLS]);

impl<const SYMBOLS: usize> Huffman<SYMBOLS> {
    /// Makes a code for symbols that occur so often. At least two must occur. No code is longer
    /// than `limit`, which is 15 at most.
    pub(super) fn new(counts: &[u32; SYMBOLS], limit: u32) -> Self {
        let mut counts = *counts;
        let mut lengths = depths(&counts);
        while lengths.iter().any(|length| *length > limit) {
            // The counts are flattened until the code is short enough. At the latest that is so
            // when all counts are equal.
            for count in counts.iter_mut().filter(|count| **count > 0) {
                *count = *count / 2 + 1;
            }
            lengths = depths(&counts);
        }
        let mut next = 0_u32;
        let mut codes = [Bits::new(0, 0); SYMBOLS];
        for length in 1..=limit {
            next <<= 1;
            for (code, _) in codes.iter_mut().zip(&lengths).filter(|(_, own)| **own == length) {
                *code = Bits::new(next.reverse_bits() >> (32 - length), length);
                next += 1;
            }
        }
        Self(codes)
    }

    /// The bits of a symbol.
    pub(super) const fn of(&self, symbol: usize) -> Bits {
        self.0[symbol]
    }

    /// How many bits each symbol has.
    pub(super) fn lengths(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|bits| bits.count)
    }
}

/// How deep each symbol lies in the Huffman tree.
fn depths(counts: &[u32]) -> Vec<u32> {
    let used = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let mut open: BinaryHeap<_> = used
        .map(|(symbol, count)| Reverse((u64::from(*count), symbol)))
        .collect();
    // Parent of each node; the inner ones are numbered behind the symbols.
    let mut parents = vec![usize::MAX; counts.len()];
    while let (Some(Reverse((one, left))), Some(Reverse((other, right)))) = (open.pop(), open.pop()) {
        let node = parents.len();
        parents.push(usize::MAX);
        (parents[left], parents[right]) = (node, node);
        open.push(Reverse((one + other, node)));
        if open.len() == 1 {
            break;
        }
    }
    let mut depths = vec![0; parents.len()];
    for node in (0..parents.len()).rev().filter(|node| parents[*node] != usize::MAX) {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(counts.len());
    depths
}

/// A writer of bits, the lowest first.
pub(super) struct BitWriter {
    out: Vec<u8>,
    bits: u64,
    count: u32,
}

impl BitWriter {
    /// Starts behind the bytes that are there already.
    pub(super) fn new(out: Vec<u8>) -> Self {
        Self { out, bits: 0, count: 0 }
    }

    pub(super) fn push(&mut self, more: Bits) {
        self.bits |= u64::from(more.bits) << self.count;
        self.count += more.count;
        if self.count >= 32 {
            #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
            self.out.extend_from_slice(&(self.bits as u32).to_le_bytes());
            self.bits >>= 32;
            self.count -= 32;
        }
    }

    /// Fills the last byte up with zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let bytes = self.count.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.bits.to_le_bytes()[..bytes]);
        self.out
    }
}
