//! Canonical JSON (RFC 8785) and the strict reading it needs.
//!
//! What is signed or hashed is the document as it was received, with whatever a newer writer put into it. So
//! it is read without loss: a name that stands twice in one object, or a whole number beyond 2^53 − 1,
//! which other readers would round, is refused (I-JSON, RFC 7493).

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::Serialize;
use serde_json::{Map, Number, Value};

use crate::sign::BadDocument;

/// Largest whole number every JSON reader keeps: 2^53 − 1.
pub const MAX_WHOLE: u64 = (1 << 53) - 1;

/// Canonical bytes of a value.
///
/// # Errors
/// [`BadDocument::NotCanonical`] when a number or key has no canonical form.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, BadDocument> {
    serde_jcs::to_vec(value).map_err(|e| BadDocument::NotCanonical(e.to_string()))
}

/// The JSON of a value of ours, held to the same rules as what is received.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<Value, BadDocument> {
    let bad = |e: serde_json::Error| BadDocument::NotCanonical(e.to_string());
    Strict::deserialize(serde_json::to_value(value).map_err(bad)?).map(|strict| strict.0).map_err(bad)
}

/// JSON that means the same to every reader.
pub(crate) struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(b.into())
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        if n > MAX_WHOLE {
            return Err(E::custom(format!("{n} is beyond 2^53 - 1, which not every reader keeps")));
        }
        Ok(n.into())
    }
    fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
        if n.unsigned_abs() > MAX_WHOLE {
            return Err(E::custom(format!("{n} is beyond 2^53 - 1, which not every reader keeps")));
        }
        Ok(n.into())
    }
    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        Number::from_f64(n).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            out.push(value);
        }
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if out.contains_key(&name) {
                return Err(A::Error::custom(format!("{name:?} stands twice in one object")));
            }
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value, String> {
        serde_json::from_str::<Strict>(text).map(|s| s.0).map_err(|e| e.to_string())
    }

    #[test]
    fn canonical_form_is_that_of_the_rfc() {
        // RFC 8785, sections 3.2.2 and 3.2.3.
        let text = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
            "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
        let want = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
            \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        let got = canonical(&read(text).expect("reads")).expect("canonical");
        assert_eq!(String::from_utf8(got).expect("text"), want);
        let keys = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        let want = "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}";
        let got = canonical(&read(keys).expect("reads")).expect("canonical");
        assert_eq!(String::from_utf8(got).expect("text"), want, "sorted by UTF-16 units, not by bytes");
    }

    #[test]
    fn what_two_readers_would_take_differently_is_refused() {
        assert!(read(r#"{"a":1,"b":{"c":1,"c":2}}"#).expect_err("twice").contains("\"c\" stands twice"));
        for n in ["9007199254740992", "-9007199254740992", "18446744073709551615"] {
            assert!(read(n).expect_err("too large").contains("2^53"), "{n}");
        }
        assert_eq!(read("9007199254740991"), Ok(MAX_WHOLE.into()));
        assert!(read("1e999").is_err());
    }
}
