//! Reads numbers and strings of a GGUF file in sequence; reading beyond the end is an error.

/// Result with an error message about a file; the caller adds the path.
pub(super) type Checked<T> = std::result::Result<T, String>;

/// A position in the file.
pub(super) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: u64) -> Checked<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(count).ok().and_then(|n| rest.get(..n)).ok_or_else(|| {
            format!("promises {count} bytes at byte {}, but only {} follow; download it again", self.at, rest.len())
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub fn u32(&mut self) -> Checked<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Checked<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn text(&mut self) -> Checked<&'a str> {
        let length = self.u64()?;
        let start = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| format!("has text at byte {start} that is not UTF-8"))
    }
}
