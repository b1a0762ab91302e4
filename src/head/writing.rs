//! A text being generated: its tokens, and their text decoded in whole characters.

use crate::error::Result;
use crate::text::Tokenizer;

/// A prompt and its continuation.
pub(super) struct Writing {
    /// Index of the prompt.
    pub prompt: usize,
    /// Token ids of the prompt and all generated tokens.
    pub ids: Vec<u32>,
    /// The generated text, up to the last whole character. It only grows.
    text: String,
    /// Number of its bytes already handed on.
    handed: usize,
    /// Range of earlier tokens that are decoded together with new ones: a decoder strips the space before the first
    /// word, and the bytes of a character can only be decoded together.
    before: std::ops::Range<usize>,
    /// The text of those tokens alone.
    said: String,
}

impl Writing {
    /// Begin with a prompt of these tokens.
    pub fn new(prompt: usize, ids: Vec<u32>, tokenizer: &Tokenizer) -> Result<Self> {
        let said = decode(tokenizer, &ids)?;
        Ok(Self { prompt, text: String::new(), handed: 0, before: 0..ids.len(), ids, said })
    }

    /// Decode the new tokens. A character with missing bytes waits for them, unless this is the `last` call.
    pub fn read(&mut self, tokenizer: &Tokenizer, last: bool) -> Result<()> {
        let all = decode(tokenizer, &self.ids[self.before.start..])?;
        if all.ends_with(char::REPLACEMENT_CHARACTER) && !last {
            return Ok(());
        }
        let new = match all.strip_prefix(&self.said) {
            Some(new) => new.to_string(),
            // Some decoders garble characters next to invalid bytes.
            None => decode(tokenizer, &self.ids[self.before.end..])?,
        };
        if !new.is_empty() {
            self.text += &new;
            self.before = self.before.end..self.ids.len();
            self.said = decode(tokenizer, &self.ids[self.before.clone()])?;
        }
        Ok(())
    }

    /// The text that can be shown and has not been yet, and whether a stop string was found.
    pub fn hand_on(&mut self, stop: &[String], last: bool) -> (&str, bool) {
        let (shown, stopped) = cut(&self.text, stop, last);
        let new = shown.get(self.handed..).unwrap_or_default();
        self.handed += new.len();
        (new, stopped)
    }

    /// The text that was handed on.
    pub fn handed(&self) -> &str {
        &self.text[..self.handed]
    }
}

fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> Result<String> {
    Ok(tokenizer.decode(&[ids.to_vec()], true)?.concat())
}

/// The part of a text that can be shown, and whether a stop string was found: the text up to a stop string. A possible
/// beginning of one at the end is held back unless this is the `last` call.
fn cut<'a>(text: &'a str, stop: &[String], last: bool) -> (&'a str, bool) {
    if let Some(end) = stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
        return (&text[..end], true);
    }
    let begins = |at: usize| !last && stop.iter().any(|stop| stop.starts_with(&text[at..]));
    let end = text.char_indices().map(|(at, _)| at).find(|&at| begins(at)).unwrap_or(text.len());
    (&text[..end], false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::gguf::Gguf;
    use crate::text::SideFiles;

    type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn cut_when_a_stop_text_is_met_or_may_begin_shows_what_is_certain() {
        let stop = ["\n\n".to_string(), "END".to_string()];
        assert_eq!(cut("one two", &stop, false), ("one two", false));
        assert_eq!(cut("one\n", &stop, false), ("one", false));
        assert_eq!(cut("one\n", &stop, true), ("one\n", false));
        assert_eq!(cut("one E", &stop, false), ("one ", false));
        assert_eq!(cut("one EN two END three\n\n", &stop, false), ("one EN two ", true));
    }

    /// The tokenizer of a GGUF file, as this crate's type and as the `tokenizers` library's.
    fn tokenizer(name: &str) -> Result<(Tokenizer, tokenizers::Tokenizer)> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/gguf/{name}.gguf"));
        let inner = Gguf::open(&path)?.tokenizer()?;
        let json = inner.to_string(false).unwrap_or_default();
        let files = SideFiles([("tokenizer.json".to_string(), json.into_bytes())].into());
        Ok((Tokenizer::from_files(&files, None)?, inner))
    }

    /// The text generated when the tokens `new` follow "the cat" one by one, and the pieces in which it was handed on.
    fn written(tokenizer: &Tokenizer, new: &[u32], stop: &[&str]) -> Result<(String, Vec<String>)> {
        let prompt = tokenizer.encode(&["the cat".to_string()], None, 64)?.ids(0).to_vec();
        let stop: Vec<String> = stop.iter().map(|stop| (*stop).to_string()).collect();
        let (mut writing, mut pieces) = (Writing::new(0, prompt, tokenizer)?, Vec::new());
        for (i, id) in new.iter().enumerate() {
            writing.ids.push(*id);
            let last = i + 1 == new.len();
            writing.read(tokenizer, last)?;
            let (piece, stopped) = writing.hand_on(&stop, last);
            pieces.push(piece.to_string());
            if stopped {
                break;
            }
        }
        assert_eq!(pieces.concat(), writing.handed());
        Ok((writing.handed().to_string(), pieces))
    }

    #[test]
    fn characters_of_several_tokens_when_written_are_whole_and_stop_nothing() -> Outcome {
        // Byte pieces where SentencePiece has no piece for a character, and the byte alphabet of GPT-2.
        let hexadecimal = |byte: u8| format!("<0x{byte:02X}>");
        for (name, bytes) in [("llama", hexadecimal as fn(u8) -> String), ("gpt2", byte_letter)] {
            let (tokenizer, inner) = tokenizer(name)?;
            let ids =
                |text: &[u8]| -> Vec<u32> { text.iter().filter_map(|&byte| inner.token_to_id(&bytes(byte))).collect() };
            let text = "ŵ\u{fffd}ŷ!";
            let new = ids(text.as_bytes());
            assert_eq!(new.len(), text.len(), "{name}");
            let (all, pieces) = written(&tokenizer, &new, &[])?;
            assert_eq!(all, text, "{name}");
            assert!(pieces[0].is_empty() && pieces[1] == "ŵ", "{name}: {pieces:?}");
            // A real U+FFFD matches the stop string; an unfinished character does not.
            assert_eq!(written(&tokenizer, &new, &["\u{fffd}"])?.0, "ŵ", "{name}");
            assert_eq!(written(&tokenizer, &ids("ŵŷ".as_bytes()), &["\u{fffd}"])?.0, "ŵŷ", "{name}");
            // Text already handed on stays, even if a decoder would retract it for the bytes that follow.
            assert_eq!(written(&tokenizer, &ids(b"\xc5\xb5\xc5"), &[])?.0, "ŵ\u{fffd}", "{name}");
            let letter: Vec<u32> = inner.token_to_id("a").into_iter().collect();
            let broken = [ids(b"\xc5\xb5\xc5"), letter].concat();
            assert_eq!(written(&tokenizer, &broken, &[])?.0, "ŵ\u{fffd}a", "{name}");
        }
        Ok(())
    }

    /// The letter that stands for a byte outside printable ASCII: here only such bytes, and `!`.
    fn byte_letter(byte: u8) -> String {
        let hidden = (0..=255u8).filter(|b| !matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff));
        let place = hidden.clone().position(|b| b == byte);
        place.map_or(char::from(byte), |place| char::from_u32(256 + place as u32).unwrap_or('?')).to_string()
    }
}
