//! What an S3 store answers, in XML. Elements are known by their local names: some stores write the namespace, some
//! do not, and what is not asked for is passed over.

use lectern_wire::digest::Digest;
use serde::Deserialize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Answer to CreateMultipartUpload.
#[derive(Debug, Deserialize)]
pub struct Begun {
    /// The upload's name at the store.
    #[serde(rename = "UploadId")]
    pub upload_id: String,
}

/// Answer to ListParts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Parts {
    /// The parts, by number.
    #[serde(rename = "Part")]
    pub parts: Vec<ListedPart>,
}

/// A part as the store lists it.
#[derive(Debug, Deserialize)]
pub struct ListedPart {
    /// From 1.
    #[serde(rename = "PartNumber")]
    pub number: u32,
    /// The store's name for its bytes.
    #[serde(rename = "ETag")]
    pub etag: String,
    /// Bytes.
    #[serde(rename = "Size")]
    pub size: u64,
    /// Hash in base64, where the store keeps it.
    #[serde(rename = "ChecksumSHA256")]
    pub sha256: Option<String>,
}

impl ListedPart {
    /// The hash the store computed itself, where it says one.
    pub fn digest(&self) -> Option<Digest> {
        let bytes = BASE64.decode(self.sha256.as_deref()?.trim()).ok()?;
        hex::encode(bytes).parse().ok()
    }
}

/// Answer to ListObjects.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Objects {
    /// The objects, by key.
    #[serde(rename = "Contents")]
    pub contents: Vec<ListedObject>,
    /// Whether there are more after these.
    #[serde(rename = "IsTruncated")]
    pub truncated: bool,
}

/// An object as the store lists it.
#[derive(Debug, Deserialize)]
pub struct ListedObject {
    /// Its key.
    #[serde(rename = "Key")]
    pub key: String,
}

/// Answer to ListMultipartUploads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Uploads {
    /// The uploads under way.
    #[serde(rename = "Upload")]
    pub uploads: Vec<ListedUpload>,
    /// Whether there are more after these.
    #[serde(rename = "IsTruncated")]
    pub truncated: bool,
    /// Where to go on.
    #[serde(rename = "NextKeyMarker")]
    pub next_key: Option<String>,
    /// Where to go on.
    #[serde(rename = "NextUploadIdMarker")]
    pub next_upload: Option<String>,
}

/// An upload as the store lists it.
#[derive(Debug, Deserialize)]
pub struct ListedUpload {
    /// The key of the object it would become.
    #[serde(rename = "Key")]
    pub key: String,
    /// Its name.
    #[serde(rename = "UploadId")]
    pub upload_id: String,
}

/// A refusal, in any answer, also one that began with 200.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// A word such as `NoSuchUpload`.
    #[serde(rename = "Code")]
    pub code: String,
    /// A sentence.
    #[serde(rename = "Message")]
    pub message: String,
}

/// Reads an answer; none when it is not that, or is a refusal.
pub fn read<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, String> {
    quick_xml::de::from_str(text).map_err(|e| e.to_string())
}

/// Whether this is a refusal, and which.
pub fn refusal(text: &str) -> Option<Refusal> {
    if !text.contains("<Error") {
        return None;
    }
    read::<Refusal>(text).ok().filter(|refusal| !refusal.code.is_empty())
}

/// The body of CompleteMultipartUpload: part numbers from 1, in order.
pub fn complete_body(parts: &[(String, Option<Digest>)]) -> String {
    let mut body = String::from("<CompleteMultipartUpload>");
    for (n, (etag, sha256)) in parts.iter().enumerate() {
        let hash = sha256
            .map(base64_of)
            .map_or_else(String::new, |hash| format!("<ChecksumSHA256>{hash}</ChecksumSHA256>"));
        let etag = quick_xml::escape::escape(etag);
        body += &format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag>{hash}</Part>", n + 1);
    }
    body + "</CompleteMultipartUpload>"
}

/// A hash as S3 writes it.
pub fn base64_of(digest: Digest) -> String {
    BASE64.encode(digest.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_and_without_their_namespace() {
        for xmlns in ["", r#" xmlns="http://s3.amazonaws.com/doc/2006-03-01/""#] {
            let text = format!(
                r#"<?xml version="1.0" encoding="UTF-8"?><ListPartsResult{xmlns}><Bucket>b</Bucket>
                <Part><PartNumber>3</PartNumber><LastModified>x</LastModified><ETag>&quot;ab&quot;</ETag><Size>7</Size>
                <ChecksumSHA256>{}</ChecksumSHA256></Part><Part><PartNumber>4</PartNumber><ETag>"c"</ETag>
                <Size>1</Size></Part><IsTruncated>false</IsTruncated></ListPartsResult>"#,
                base64_of(Digest::of(b"x"))
            );
            let parts = read::<Parts>(&text).expect("read").parts;
            assert_eq!((parts[0].number, parts[0].etag.as_str(), parts[0].size), (3, "\"ab\"", 7));
            assert_eq!((parts[0].digest(), parts[1].digest()), (Some(Digest::of(b"x")), None));
            let text = format!(
                "<InitiateMultipartUploadResult{xmlns}><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            );
            assert_eq!(read::<Begun>(&text).expect("read").upload_id, "u");
            let text = format!(
                "<ListBucketResult{xmlns}><IsTruncated>true</IsTruncated><Contents><Key>a/b</Key></Contents></ListBucketResult>"
            );
            let objects = read::<Objects>(&text).expect("read");
            assert!(objects.truncated && objects.contents[0].key == "a/b");
        }
    }

    #[test]
    fn a_refusal_is_found_also_in_an_answer_that_began_well() {
        let text = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>";
        assert_eq!(refusal(text).map(|r| r.code), Some("NoSuchUpload".into()));
        assert!(refusal("<CompleteMultipartUploadResult/>").is_none());
        assert!(refusal("<html>Error</html>").is_none() && read::<Begun>("nonsense").is_err());
    }

    #[test]
    fn the_parts_of_a_whole_are_numbered_from_one_and_their_names_are_escaped() {
        let body = complete_body(&[("\"a<\"".into(), None), ("b".into(), Some(Digest::of(b"")))]);
        assert!(
            body.starts_with("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&quot;a&lt;"),
            "{body}"
        );
        assert!(body.contains("<PartNumber>2</PartNumber><ETag>b</ETag><ChecksumSHA256>47DEQp"), "{body}");
    }
}
