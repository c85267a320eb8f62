//! Reads documents of cameras: by the plain names of their elements, since every maker has prefixes of its own, and
//! within limits, since anything may have sent them.

use roxmltree::{Document, Node, ParsingOptions};

/// Largest document that is read, bytes; profiles of a camera with many of them take some 60 KiB.
pub const MAX_BYTES: usize = 256 * 1024;
/// Most elements and texts in it.
const MAX_NODES: u32 = 20_000;
/// Longest text that is taken out of it, characters.
const MAX_TEXT: usize = 400;

/// Reads a document and takes out of it what `take` wants.
///
/// # Errors
/// A sentence.
pub fn read<T>(bytes: &[u8], take: impl FnOnce(Node<'_, '_>) -> T) -> Result<T, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("the answer is larger than {} KiB", MAX_BYTES / 1024));
    }
    let text = String::from_utf8_lossy(bytes);
    // Some send a mark before the document, and zeros or line ends after it.
    let start = text.find('<').unwrap_or(0);
    let end = text.rfind('>').map_or(text.len(), |at| at + 1);
    // A document that declares something of its own is refused: no camera needs it, and bombs are made of it.
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text.get(start..end).unwrap_or_default(), options)
        .map_err(|e| format!("the answer is no XML that can be read ({e})"))?;
    Ok(take(document.root()))
}

/// The first element of a name at any depth.
pub fn first<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    all(node, name).next()
}

/// Every element of a name at any depth.
pub fn all<'a, 'i>(node: Node<'a, 'i>, name: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.descendants().filter(move |n| n.is_element() && n.tag_name().name() == name)
}

/// The text of the first element of a name, without what would move a terminal's cursor; empty when there is none.
pub fn text(node: Node<'_, '_>, name: &str) -> String {
    let text = first(node, name).and_then(|n| n.text()).unwrap_or_default();
    plain(text)
}

/// The whole number in the first element of a name.
pub fn number(node: Node<'_, '_>, name: &str) -> Option<u32> {
    text(node, name).parse().ok()
}

/// A text of limited length without control characters.
pub fn plain(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

/// A text as it stands in an element.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_are_found_by_their_plain_names_whatever_stands_around() {
        let document = "\u{feff}<?xml version=\"1.0\" encoding=\"gb2312\"?>\r\n<a:E xmlns:a=\"urn:x\"><b xmlns=\"urn:y\"> 1080\u{7}\n</b></a:E>\r\n\0\0";
        let found = read(document.as_bytes(), |root| (text(root, "b"), number(root, "b"), text(root, "c")));
        assert!(found.is_err(), "a control character is no XML");
        let document = document.replace('\u{7}', "");
        let found = read(document.as_bytes(), |root| (text(root, "b"), number(root, "b"), text(root, "c")));
        assert_eq!(found, Ok(("1080".into(), Some(1080), String::new())));
    }

    #[test]
    fn bombs_and_giants_are_refused_with_a_sentence() {
        let laughs = "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]><l>&b;</l>";
        assert!(read(laughs.as_bytes(), |_| ()).expect_err("a bomb").contains("no XML that can be read"));
        assert!(
            read(&vec![b' '; MAX_BYTES + 1], |_| ()).expect_err("a giant").contains("larger than 256 KiB")
        );
        let many = format!("<a>{}</a>", "<b/>".repeat(30_000));
        assert!(read(many.as_bytes(), |_| ()).is_err(), "too many elements");
        // Nested as deep as the size allows: refused or read, but never a crash.
        let deep = "<a>".repeat(MAX_BYTES / 3);
        assert!(read(deep.as_bytes(), |_| ()).is_err());
        let deep = format!("{}{}", "<a>".repeat(15_000), "</a>".repeat(15_000));
        assert_eq!(read(deep.as_bytes(), |root| all(root, "a").count()), Ok(15_000));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_crash(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let found = read(&bytes, |root| text(root, "a"));
            prop_assert!(found.is_err() || found.is_ok_and(|text| text.len() <= 4 * MAX_TEXT));
        }
    }
}
