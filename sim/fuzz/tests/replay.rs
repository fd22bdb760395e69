//! P9 in the ordinary tests: the corpus as it is, and some thousand mutations of it. Millions are `cargo xtask fuzz`'s.

use fuzz::{corpus, frames, guarded, packets, sessions};

/// Cases of each target in an ordinary run: seconds, in a debug build.
const PACKETS: u64 = 20_000;
const SESSIONS: u64 = 1_500;
const FRAMES: u64 = 300;

#[test]
fn the_corpus_as_it_is() {
    let mut decoded = 0;
    let corpus = corpus::packets();
    for seed in &corpus {
        let end = packets::check(seed.version, &seed.bytes, 256 << 10);
        decoded += u32::from(end == Ok(packets::End::Decoded));
        assert!(end.is_ok(), "{seed:02x?}: {end:?}");
    }
    assert!(decoded as usize + 4 >= corpus.len(), "all but a few strangers are understood: {decoded}");
}

#[test]
fn mutated_packets() {
    let corpus = corpus::packets();
    let mut ends = [0_u64; 3];
    for case in 0..PACKETS {
        let mut end = None;
        let result = guarded(|| packets::run(&corpus, case).map(|e| end = Some(e)));
        assert_eq!(result, Ok(()), "replay: cargo xtask fuzz --packets 1 --from {case}");
        ends[end.map_or(0, |end| end as usize)] += 1;
    }
    assert!(ends.iter().all(|count| *count > PACKETS / 20), "mutations reach all sides: {ends:?}");
}

#[test]
fn mutated_sessions() {
    let corpus = corpus::packets();
    let mut marks = sessions::Marks::default();
    for case in 0..SESSIONS {
        let result = guarded(|| sessions::run(&corpus, case, &mut marks));
        assert_eq!(result, Ok(()), "replay: cargo xtask fuzz --sessions 1 --from {case}");
    }
    let all = [marks.delivered, marks.again, marks.published, marks.reconnects, marks.hostile, marks.ended];
    assert!(all.iter().all(|count| *count > SESSIONS / 20), "everything happens: {marks:?}");
}

#[test]
fn mutated_frames() {
    let marks = frames::run(0, FRAMES, &mut |_| {}).unwrap_or_else(|(case, finding)| {
        panic!("{finding}; replay: cargo xtask fuzz --frames 1 --from {case}")
    });
    assert!(marks.pings > 0 && marks.broken > 0 && marks.whole > 0, "everything happens: {marks:?}");
}
