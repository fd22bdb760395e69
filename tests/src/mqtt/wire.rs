//! The elements that MQTT packets are made of: numbers, texts, the variable byte integer.
//!
//! Not here: packets (`packet`).

/// Bytes to be sent.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, n: u8) {
        self.0.push(n);
    }

    pub(super) fn two(&mut self, n: u16) {
        self.0.extend(n.to_be_bytes());
    }

    pub(super) fn four(&mut self, n: u32) {
        self.0.extend(n.to_be_bytes());
    }

    pub(super) fn variable(&mut self, mut n: u32) {
        loop {
            let low = (n % 128) as u8;
            n /= 128;
            self.byte(if n > 0 { low | 0x80 } else { low });
            if n == 0 {
                return;
            }
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.two(u16::try_from(bytes.len()).expect("a test's fields are below 64 KiB"));
        self.0.extend(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// The whole packet, with its fixed header.
    pub(super) fn packet(self, first: u8) -> Vec<u8> {
        let mut packet = Self::default();
        packet.byte(first);
        packet.variable(u32::try_from(self.0.len()).expect("a test's packets are below 256 MiB"));
        packet.0.extend(self.0);
        packet.0
    }
}

/// Bytes that came.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or_else(|| format!("{length} bytes are not there"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn two(&mut self) -> Result<u16, String> {
        Ok(u16::from(self.byte()?) << 8 | u16::from(self.byte()?))
    }

    pub(super) fn four(&mut self) -> Result<u32, String> {
        Ok(u32::from(self.two()?) << 16 | u32::from(self.two()?))
    }

    pub(super) fn variable(&mut self) -> Result<u32, String> {
        let mut n = 0;
        for place in 0..4 {
            let byte = self.byte()?;
            n |= u32::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err("a length of more than four bytes".to_owned())
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, String> {
        let length = self.two()?;
        Ok(self.take(length.into())?.to_vec())
    }

    pub(super) fn text(&mut self) -> Result<String, String> {
        String::from_utf8(self.bytes()?).map_err(|e| e.to_string())
    }
}

/// The length of the first packet in `bytes`, if all of it is there.
pub(super) fn whole_packet(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut reader = Reader(bytes);
    if reader.byte().is_err() {
        return Ok(None);
    }
    let length = match reader.variable() {
        Ok(length) => length as usize,
        Err(_) if bytes.len() < 5 => return Ok(None),
        Err(why) => return Err(why),
    };
    let head = bytes.len() - reader.0.len();
    Ok((reader.0.len() >= length).then_some(head + length))
}
