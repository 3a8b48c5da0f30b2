//! PURE: gzip for bodies of many similar events. A general compressor looks for repetitions at
//! every byte. In such a body they begin where a name or a value begins, so only those places are
//! looked at. docs/BENCHMARK.md says what this gains.
//!
//! The format is that of RFC 1951 and RFC 1952. Any decoder reads it; flate2's does when a body is
//! split.

mod huffman;
use huffman::{BitWriter, Bits, Huffman};

/// The farthest distance of a repetition (RFC 1951).
const WINDOW: usize = 1 << 15;
/// The longest repetition (RFC 1951).
const LONGEST: usize = 258;
/// A shorter repetition is not worth its code.
const SHORTEST: usize = 4;
/// How many bytes of a name are hashed: enough to tell `,"langfuse_trace_id":` from
/// `,"langfuse_trace_name":`.
const NAME: usize = 20;
/// A repetition of a name this long is taken without looking for a longer one of the value.
const GOOD: usize = 16;
/// Sizes of the hash tables of names and values: small enough for the processor's first cache.
const NAME_BITS: u32 = 11;
const VALUE_BITS: u32 = 12;

/// The symbol that ends a block (RFC 1951).
const END: usize = 256;
const LITERALS: usize = 286;
const DISTANCES: usize = 30;
/// The order in which the lengths of the code length codes are written (RFC 1951, 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Names and values begin behind these bytes.
const BORDERS: [bool; 256] = {
    let mut borders = [false; 256];
    let mut at = 0;
    let found = b"\",:/= ";
    while at < found.len() {
        borders[found[at] as usize] = true;
        at += 1;
    }
    borders
};

/// Compresses the bytes into a gzip file. The same bytes give the same file.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / 6 + 64);
    // Deflate, no flags, no time, no hint, an unknown system.
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    let mut writer = BitWriter::new(out);
    let mut counts = Counts::default();
    let parts = parts(bytes, &mut counts);
    block(bytes, &parts, &counts, &mut writer);
    let mut out = writer.finish();
    out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32, as the format has it")]
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

/// Some bytes as they are, followed by a repetition. The last part has none.
struct Part {
    literals: u32,
    length: u16,
    distance: u16,
}

/// How often each symbol is used.
struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Default for Counts {
    /// Two symbols of each code are counted from the start: a code of one symbol has no bits, and
    /// decoders treat it differently.
    fn default() -> Self {
        let mut counts = Self {
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
        };
        counts.literals[0] = 1;
        counts.literals[END] = 1;
        counts.distances[..2].fill(1);
        counts
    }
}

/// Where a name or value with the same hash last began.
struct Seen {
    names: Vec<u32>,
    values: Vec<u32>,
}

impl Seen {
    fn new() -> Self {
        Self {
            names: vec![u32::MAX; 1 << NAME_BITS],
            values: vec![u32::MAX; 1 << VALUE_BITS],
        }
    }

    /// The longer of the two repetitions that may begin here, and its distance. Remembers this
    /// place.
    fn repetition(&mut self, bytes: &[u8], at: usize) -> (usize, usize) {
        const MIX: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9];
        let words = [word(bytes, at), word(bytes, at + 8), word(bytes, at + NAME - 8)];
        let mixed = words
            .iter()
            .zip(MIX)
            .fold(0, |mixed, (word, mix)| mixed ^ word.wrapping_mul(mix));
        let name = mixed.wrapping_mul(MIX[0]) >> (64 - NAME_BITS);
        // Six bytes.
        let value = (words[0] << 16).wrapping_mul(MIX[0]) >> (64 - VALUE_BITS);
        #[expect(clippy::cast_possible_truncation, reason = "bodies are far below 4 GiB")]
        let place = at as u32;
        let mut best = (0, 0);
        for seen in [&mut self.names[name as usize], &mut self.values[value as usize]] {
            let before = std::mem::replace(seen, place) as usize;
            let distance = at.wrapping_sub(before);
            if best.0 < GOOD && before < at && distance <= WINDOW {
                let length = alike(bytes, before, at);
                if length > best.0 {
                    best = (length, distance);
                }
            }
        }
        best
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// How many bytes are equal from both places on.
fn alike(bytes: &[u8], before: usize, at: usize) -> usize {
    let here = &bytes[at..bytes.len().min(at + LONGEST)];
    let there = &bytes[before..before + here.len()];
    let mut length = 0;
    for (one, other) in here.chunks_exact(8).zip(there.chunks_exact(8)) {
        let differ = word(one, 0) ^ word(other, 0);
        if differ != 0 {
            return length + differ.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let same = |(one, other): &(&u8, &u8)| one == other;
    length + here[length..].iter().zip(&there[length..]).take_while(same).count()
}

/// Divides the bytes into parts, and counts the symbols that these need.
fn parts(bytes: &[u8], counts: &mut Counts) -> Vec<Part> {
    let mut parts = Vec::with_capacity(bytes.len() / 32 + 1);
    let mut seen = Seen::new();
    let (mut begin, mut at) = (0, 0);
    // The last bytes are too few to be hashed.
    let end = bytes.len().saturating_sub(NAME);
    while at < end {
        let (length, distance) = seen.repetition(bytes, at);
        if length >= SHORTEST {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "at most 258 and 32,768; bodies are far below 4 GiB"
            )]
            let part = Part {
                literals: (at - begin) as u32,
                length: length as u16,
                distance: distance as u16,
            };
            counts.literals[part.length_code().symbol] += 1;
            counts.distances[part.distance_code().symbol] += 1;
            parts.push(part);
            at += length;
            begin = at;
            // A repetition of the greatest length may go on after it.
            if length == LONGEST || BORDERS[usize::from(bytes[at - 1])] {
                continue;
            }
        }
        while at < end {
            let byte = usize::from(bytes[at]);
            counts.literals[byte] += 1;
            at += 1;
            if BORDERS[byte] {
                break;
            }
        }
    }
    for byte in &bytes[at..] {
        counts.literals[usize::from(*byte)] += 1;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bodies are far below 4 GiB")]
    parts.push(Part {
        literals: (bytes.len() - begin) as u32,
        length: 0,
        distance: 0,
    });
    parts
}

/// A symbol, and the extra bits that follow it.
#[derive(Clone, Copy)]
struct Code {
    symbol: usize,
    behind: Bits,
}

impl Code {
    const fn plain(symbol: usize) -> Self {
        Self {
            symbol,
            behind: Bits::new(0, 0),
        }
    }

    /// The symbol of a length or distance, counted from 0. The first `1 << fine` values have
    /// symbols without extra bits; then each doubling of the value has half as many symbols.
    const fn of(rest: u32, fine: u32) -> Self {
        if rest >> fine == 0 {
            return Self::plain(rest as usize);
        }
        let extra = rest.ilog2() - fine + 1;
        Self {
            symbol: ((extra << (fine - 1)) + (rest >> extra)) as usize,
            behind: Bits::new(rest & ((1 << extra) - 1), extra),
        }
    }
}

impl Part {
    fn length_code(&self) -> Code {
        static CODES: [Code; LONGEST + 1] = {
            let mut codes = [Code::plain(0); LONGEST + 1];
            let mut length = 3;
            while length < LONGEST {
                #[expect(clippy::cast_possible_truncation, reason = "at most 254")]
                let code = Code::of((length - 3) as u32, 3);
                codes[length] = Code {
                    symbol: END + 1 + code.symbol,
                    ..code
                };
                length += 1;
            }
            codes[LONGEST] = Code::plain(285);
            codes
        };
        CODES[usize::from(self.length)]
    }

    fn distance_code(&self) -> Code {
        Code::of(u32::from(self.distance) - 1, 2)
    }
}

/// Writes all parts as one block with codes of its own. Similar events need similar symbols, so
/// more blocks would only add more codes.
fn block(bytes: &[u8], parts: &[Part], counts: &Counts, writer: &mut BitWriter) {
    let literals = Huffman::new(&counts.literals, 15);
    let distances = Huffman::new(&counts.distances, 15);
    // This is the last block, and it has dynamic codes.
    writer.push(Bits::new(1, 1));
    writer.push(Bits::new(2, 2));
    write_codes(&literals, &distances, writer);
    let mut at = 0;
    for part in parts {
        let end = at + part.literals as usize;
        for byte in &bytes[at..end] {
            writer.push(literals.of(usize::from(*byte)));
        }
        at = end + usize::from(part.length);
        if part.length > 0 {
            let (length, distance) = (part.length_code(), part.distance_code());
            writer.push(literals.of(length.symbol).then(length.behind));
            writer.push(distances.of(distance.symbol).then(distance.behind));
        }
    }
    writer.push(literals.of(END));
}

/// Writes the lengths of both codes, run-length and Huffman coded themselves.
fn write_codes(literals: &Huffman<LITERALS>, distances: &Huffman<DISTANCES>, writer: &mut BitWriter) {
    let lengths: Vec<u32> = literals.lengths().chain(distances.lengths()).collect();
    let mut runs: Vec<Code> = Vec::new();
    for run in lengths.chunk_by(|one, other| one == other) {
        let (length, mut left) = (run[0] as usize, run.len());
        if length > 0 {
            runs.push(Code::plain(length));
            left -= 1;
        }
        while left > 0 {
            let (symbol, least, most, extra) = match (length, left) {
                (0, 11..) => (18, 11, 138, 7),
                (0, 3..) => (17, 3, 10, 3),
                (1.., 3..) => (16, 3, 6, 2),
                _ => (length, 1, 1, 0),
            };
            let taken = left.min(most);
            #[expect(clippy::cast_possible_truncation, reason = "at most 127")]
            runs.push(Code {
                symbol,
                behind: Bits::new((taken - least) as u32, extra),
            });
            left -= taken;
        }
    }
    let mut counts = [0; ORDER.len()];
    for run in &runs {
        counts[run.symbol] += 1;
    }
    let code = Huffman::new(&counts, 7);
    // How many lengths there are of each code, less the fewest that the format allows. All of them
    // are written, used or not.
    for (count, bits) in [(LITERALS - 257, 5), (DISTANCES - 1, 5), (ORDER.len() - 4, 4)] {
        #[expect(clippy::cast_possible_truncation, reason = "below 32")]
        writer.push(Bits::new(count as u32, bits));
    }
    for symbol in ORDER {
        writer.push(Bits::new(code.of(symbol).count(), 3));
    }
    for run in runs {
        writer.push(code.of(run.symbol).then(run.behind));
    }
}

#[cfg(test)]
mod tests;
