use std::io::Read as _;

use flate2::read::{GzDecoder, GzEncoder};
use proptest::prelude::*;

use super::gzip;

fn gunzip(file: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut decoder = GzDecoder::new(file);
    decoder.read_to_end(&mut bytes).unwrap();
    assert!(decoder.into_inner().is_empty(), "bytes behind the end");
    bytes
}

fn level(level: u32, bytes: &[u8]) -> usize {
    let mut file = Vec::new();
    GzEncoder::new(bytes, flate2::Compression::new(level))
        .read_to_end(&mut file)
        .unwrap();
    file.len()
}

fn comes_back(bytes: &[u8]) -> usize {
    let file = gzip(bytes);
    assert!(gunzip(&file) == bytes, "{} bytes do not come back", bytes.len());
    file.len()
}

/// Alike objects, as in a body.
fn body(events: u32) -> Vec<u8> {
    let mut body = Vec::new();
    for number in 0..events {
        let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        body.extend_from_slice(
            format!(
                r#"{{"event":"langfuse score","uuid":"{mixed:016x}","properties":{{"langfuse_score_name":"user feedback","langfuse_score_value":0.{number},"langfuse_trace_name":null,"langfuse_score_comment":"word {} and more"}}}},"#,
                mixed % 97
            )
            .as_bytes(),
        );
    }
    body
}

#[test]
fn borders_of_sizes_and_repetitions_come_back() {
    comes_back(b"");
    for length in [
        1, 2, 19, 20, 21, 257, 258, 259, 516, 517, 32_767, 32_768, 32_769, 70_000,
    ] {
        comes_back(&vec![b','; length]);
        comes_back(&vec![b'x'; length]);
        // The same 300 bytes again, just within the window and just beyond it.
        let mut twice: Vec<u8> = body(2)[..300].to_vec();
        twice.resize(length.max(300), b'.');
        twice.extend_from_slice(&body(2)[..300]);
        comes_back(&twice);
    }
}

#[test]
fn all_bytes_equally_often_come_back_and_grow_little() {
    let bytes: Vec<u8> = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    assert!(comes_back(&bytes) <= bytes.len() + bytes.len() / 50 + 400);
}

#[test]
fn counts_like_fibonaccis_need_the_limit_of_the_code_length() {
    let (mut bytes, mut counts) = (Vec::new(), (1, 1));
    for symbol in 0..26_u8 {
        bytes.resize(bytes.len() + counts.0, b'a' + symbol);
        counts = (counts.1, counts.0 + counts.1);
    }
    // Without borders in it, so that each byte is a symbol.
    comes_back(&bytes);
}

#[test]
fn alike_events_take_little_more_than_at_level_6() {
    let body = body(1_000);
    let (ours, usual) = (comes_back(&body), level(6, &body));
    assert!(ours * 10 <= usual * 14, "{ours} bytes for {usual}");
}

#[test]
fn the_same_bytes_give_the_same_file() {
    assert_eq!(gzip(&body(50)), gzip(&body(50)));
}

proptest! {
    #[test]
    fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..3_000)) {
        comes_back(&bytes);
    }

    #[test]
    fn few_different_words_come_back(words in proptest::collection::vec("[,:/ =\"a-c]{1,30}", 0..400)) {
        comes_back(words.concat().as_bytes());
        comes_back(words.concat().repeat(9).as_bytes());
    }
}
