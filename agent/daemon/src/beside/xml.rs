//! Reads the little of XML that S3 stores and Opencast answer with: elements by their local names, with or without a
//! namespace. What is no XML is read as far as it goes.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

/// An element that is open: its local name, its attributes, and the text in it so far.
struct Open {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
}

/// Goes through all elements, each when it ends, with those it stands in.
fn walk(xml: &str, mut ended: impl FnMut(Open, &[Open])) {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Open> = Vec::new();
    loop {
        match reader.read_event() {
            Ok(Event::Start(e)) => {
                let name = e.local_name().as_ref().to_owned();
                let attributes = e.attributes().flatten();
                let attributes =
                    attributes.map(|a| (a.key.local_name().as_ref().to_owned(), a.value.into_owned()));
                open.push(Open { name, attributes: attributes.collect(), text: String::new() });
            }
            Ok(Event::Text(text)) => {
                if let Some(last) = open.last_mut() {
                    last.text.push_str(&text);
                }
            }
            Ok(Event::CData(text)) => {
                if let Some(last) = open.last_mut() {
                    last.text.push_str(&text);
                }
            }
            Ok(Event::GeneralRef(entity)) => {
                let named = match &*entity {
                    "quot" => Some('"'),
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "apos" => Some('\''),
                    _ => entity.resolve_char_ref().ok().flatten(),
                };
                if let Some(last) = open.last_mut() {
                    last.text.extend(named);
                }
            }
            Ok(Event::End(_)) => {
                if let Some(last) = open.pop() {
                    ended(last, &open);
                }
            }
            Ok(Event::Eof) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// The text of the first element of a name.
pub fn text(xml: &str, name: &str) -> Option<String> {
    let mut found = None;
    walk(xml, |element, _| {
        if element.name == name && found.is_none() {
            found = Some(element.text.trim().to_owned());
        }
    });
    found
}

/// Every element of a name: its attributes, as `@name`, and the texts of what stands directly in it.
pub fn all(xml: &str, name: &str) -> Vec<BTreeMap<String, String>> {
    let mut found = Vec::new();
    let mut fields = BTreeMap::new();
    walk(xml, |element, above| {
        if element.name == name {
            let mut fields = std::mem::take(&mut fields);
            fields.extend(element.attributes.into_iter().map(|(name, value)| (format!("@{name}"), value)));
            found.push(fields);
        } else if above.last().is_some_and(|parent| parent.name == name) {
            fields.entry(element.name).or_insert_with(|| element.text.trim().to_owned());
        }
    });
    found
}

/// Text as it stands in XML.
pub fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_with_a_namespace_and_without() {
        for (root, tag) in [
            ("<ListPartsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">", "&quot;a1&quot;"),
            ("<ListPartsResult>", "&#34;a1&#34;"),
        ] {
            let xml = format!(
                "<?xml version=\"1.0\"?>{root}<IsTruncated>false</IsTruncated><Part><PartNumber>1</PartNumber>\
                 <ETag>{tag}</ETag><Size>8388608</Size></Part><Part><PartNumber>2</PartNumber><Size>5</Size></Part></ListPartsResult>"
            );
            let parts = all(&xml, "Part");
            assert_eq!(parts.len(), 2);
            assert_eq!((parts[0]["ETag"].as_str(), parts[1]["Size"].as_str()), ("\"a1\"", "5"));
            assert_eq!(text(&xml, "IsTruncated").as_deref(), Some("false"));
        }
    }

    #[test]
    fn attributes_are_fields_and_rubbish_is_nothing() {
        let workflow = all(
            "<ns3:workflow xmlns:ns3=\"x\" id=\"77\" state=\"RUNNING\"><title>a &amp; b</title></ns3:workflow>",
            "workflow",
        );
        assert_eq!((workflow[0]["@id"].as_str(), workflow[0]["title"].as_str()), ("77", "a & b"));
        for rubbish in ["", "<", "<a", "502 Bad Gateway", "<a></b>", "{\"a\":1}"] {
            assert_eq!((text(rubbish, "x"), all(rubbish, "x").len()), (None, 0), "{rubbish}");
        }
    }
}
