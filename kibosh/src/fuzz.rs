//! What a fuzzer calls: whatever the bytes are, nothing panics, and what was taken holds together.
//!
//! `fuzz/` has the targets for cargo-fuzz; the tests here do a bounded part of it on any toolchain.

use crate::fault::{Document, Engine, FaultSet};
use crate::request;

/// The bytes of one read(2) of `/dev/fuse`.
pub fn request(bytes: &[u8]) {
    match request::parse(bytes) {
        Ok(request) => assert_eq!(request.head.len as usize, bytes.len()),
        Err(bad) => assert!(bad.errno > 0 && !bad.why.is_empty()),
    }
}

/// What was written to the control file. What it gives back when read must be taken again.
pub fn document(bytes: &[u8]) {
    let engine = Engine::new(1);
    let set = match Document::parse(bytes, 1) {
        Ok(document) => FaultSet::default().changed(document, &engine),
        Err(problems) => return assert!(!problems.is_empty()),
    };
    let Ok(set) = set else { return };
    let shown = set.to_json().to_string();
    match Document::parse(shown.as_bytes(), 1).map(|again| set.changed(again, &engine)) {
        Ok(Ok(again)) => assert_eq!(again.to_json().to_string(), shown),
        refused => assert!(refused.is_ok_and(|set| set.is_ok()), "{shown} is not taken again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{InHeader, op};
    use zerocopy::IntoBytes;

    const ROUNDS: usize = 5_000;

    fn bytes(random: &mut fastrand::Rng, most: usize) -> Vec<u8> {
        (0..random.usize(..most)).map(|_| random.u8(..)).collect()
    }

    #[test]
    fn no_request_of_any_operation_makes_the_parser_panic() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..ROUNDS {
            let mut args = bytes(&mut random, 200);
            // Names and counts that are nearly right reach further than noise.
            args.iter_mut().for_each(|byte| *byte *= u8::from(random.bool()));
            let len = (size_of::<InHeader>() + args.len()) as u32;
            let opcode = random.u32(..op::COPY_FILE_RANGE_64 + 3);
            let total_extlen = random.u16(..) * u16::from(random.u8(..) < 8);
            let head = InHeader { len, opcode, total_extlen, unique: 1, ..Default::default() };
            request(&[head.as_bytes(), &args].concat());
            request(&args);
        }
    }

    const WORDS: [&str; 40] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"faults\"",
        "\"type\"",
        "\"unreadable\"",
        "\"delay\"",
        "\"disk_full\"",
        "\"lose_unsynced\"",
        "\"crash\"",
        "\"code\"",
        "\"operations\"",
        "\"fraction\"",
        "\"count\"",
        "\"nth\"",
        "\"glob\"",
        "\"prefix\"",
        "\"then\"",
        "\"kill\"",
        "\"durationMs\"",
        "\"owner\"",
        "\"bytes\"",
        "\"mode\"",
        "\"read_corrupt\"",
        "\"a**[\"",
        "\"EIO\"",
        "\"read\"",
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e308",
        "1000",
        "18446744073709551615",
        "\"\\u0000\"",
        "\"/\"",
    ];

    /// Documents that are valid but for a few words, and words in any order.
    #[test]
    fn no_document_makes_the_reader_panic_and_what_it_shows_is_taken_again() {
        let mut random = fastrand::Rng::with_seed(2);
        let valid = [
            r#"{"faults":[{"type":"unreadable","prefix":"/a","code":5,"count":3,"durationMs":1000}]}"#,
            r#"{"owner":"me","faults":[{"type":"delay","operations":["read"],"delay_ms":1.5,"jitterMs":1}]}"#,
            r#"{"faults":[{"type":"crash","operations":["fsync"],"nth":3,"then":["kill","lose_unsynced"]}]}"#,
            r#"{"faults":[{"type":"read_corrupt","mode":1000,"fraction":0.5,"count":-1},{"type":"fsync_once"}]}"#,
        ];
        for round in 0..ROUNDS {
            let mut text = valid[round % valid.len()].to_owned();
            for _ in 0..random.usize(..4) {
                let ends: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
                let (from, to) = (random.choice(&ends), random.choice(&ends));
                let (Some(from), Some(to)) = (from, to) else { break };
                let to = (*to).clamp(*from, from + 12).min(text.len());
                if text.is_char_boundary(to) {
                    text.replace_range(from..&to, WORDS[random.usize(..WORDS.len())]);
                }
            }
            document(text.as_bytes());
            let words: Vec<_> = (0..random.usize(..30)).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
            document(words.concat().as_bytes());
            document(&bytes(&mut random, 60));
        }
    }
}
