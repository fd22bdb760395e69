//! The machine that reads frames (`broker_protocol::websocket`) beside the model, stream by stream. Not here: sockets.

use broker_protocol::websocket::{Ended, Reader, Writer};
use sim::whatsapp::rng::Rng;

use super::rfc::{self, Ending};
use crate::Finding;
use crate::mutate::place;

/// From so many bytes of answers on, the machine need not answer every ping: nobody takes them here until a piece ends.
const ANSWER_BYTES: usize = 1 << 10;

/// Reads a stream in pieces.
pub(super) fn check(rng: &mut Rng, bytes: &[u8]) -> Result<(), Finding> {
    let expected = rfc::read(bytes, true);
    let (mut reader, mut writer) = (Reader::default(), Writer::default());
    let (mut data, mut answers) = (Vec::new(), Vec::new());
    let (mut rest, mut longest) = (bytes, 0);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(1 + place(rng, rest.len()));
        let mut piece = piece.to_vec();
        let kept = reader.read(&mut piece, &mut writer);
        data.extend_from_slice(&piece[..kept]);
        let answer = writer.next(&[])[0].to_vec();
        writer.wrote(answer.len());
        longest = longest.max(answer.len());
        answers.extend(answer);
        rest = behind;
    }
    let ending = match reader.ended() {
        None => Ending::Open,
        Some(Ended::Closed(code)) => Ending::Close(code),
        Some(Ended::Broken(fault)) => Ending::Broken(fault.close_code()),
    };
    let pongs = rfc::read(&answers, false);
    let pings = expected.controls.iter().filter(|(opcode, _)| *opcode == 9).map(|(_, payload)| payload);
    let answered = longest >= ANSWER_BYTES || pings.eq(pongs.controls.iter().map(|(_, payload)| payload));
    let framed = pongs.ending == Ending::Open && pongs.rest == 0 && pongs.data.is_empty();
    let only_pongs = pongs.controls.iter().all(|(opcode, _)| *opcode == 10);
    if data != expected.data || ending != expected.ending || !answered || !framed || !only_pongs {
        let got = format!("{ending:?}, {} bytes, answers {answers:02x?}", data.len());
        return Err(Finding::new(format!("{bytes:02x?}: {got}, the model says {expected:?}")));
    }
    Ok(())
}
