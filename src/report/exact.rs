//! Serialise an f64 as a string, so that it is read back bit for bit. As a JSON number it may not be: the parser
//! returns the nearest f64 or its neighbour, and JSON cannot hold numbers that are not finite.

use serde::{Deserialize, Deserializer, Serializer, de};

// serde requires a reference here.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super")] f64);

    #[test]
    fn numbers_come_back_bit_for_bit() -> serde_json::Result<()> {
        for value in [1.0 / 3.0, 1e-200 / 3.0, 5e-324, f64::MAX, -0.0, f64::INFINITY, f64::NAN] {
            let read: One = serde_json::from_str(&serde_json::to_string(&One(value))?)?;
            assert_eq!(read.0.to_bits(), value.to_bits());
        }
        Ok(())
    }
}
