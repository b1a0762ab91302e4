#!/usr/bin/env bash
# tokenizers 0.23.3: the ByteFallback decoder (Llama, Mistral, Gemma 1) takes back a character that it has already given.
#
# Byte pieces that stand in a row are decoded together, and if the row as a whole is not UTF-8, each of its bytes becomes
# U+FFFD, also those of the characters in it that are whole. "é" (C3 A9) followed by the first byte of another character
# is three U+FFFD; Python's own decoding keeps the "é". A text that is shown while it is written, decoded anew for each
# token, therefore shrinks and grows again, and a stop text that holds U+FFFD is met where there is none.
#
# Seen:
#   pieces C3        '\ufffd'
#   pieces C3 A9     '\xe9'
#   pieces C3 A9 C3  '\ufffd\ufffd\ufffd'   (bytes.decode: '\xe9\ufffd')
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet tokenizers==0.23.3
"$place/venv/bin/python" - <<'PYTHON'
from tokenizers.decoders import ByteFallback

row = [0xC3, 0xA9, 0xC3]
found = [ByteFallback().decode([f"<0x{byte:02X}>" for byte in row[:n]]) for n in (1, 2, 3)]
whole = bytes(row).decode(errors="replace")
print(*map(ascii, found), "bytes.decode:", ascii(whole))
assert found == ["\ufffd", "\u00e9", "\ufffd" * 3], found
assert whole == "\u00e9\ufffd"
PYTHON
