//! `s3://bucket/key` names, and which of them the requests of a dialect may use.

use std::collections::BTreeMap;

use contract::Complaint;

/// S3's own limit.
const KEY_BYTES: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct S3Name {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl S3Name {
    pub(crate) fn parse(text: &str) -> Result<Self, Complaint> {
        let (bucket, key) = split(text)?;
        if key.is_empty() || key.ends_with('/') {
            return Err(bad(text, "it names no object"));
        }
        check_key(text, key)?;
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl std::fmt::Display for S3Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// Dialect -> where its requests may read and write.
#[derive(Clone, Debug, Default)]
pub(crate) struct S3Allowed(BTreeMap<String, Vec<S3Name>>);

impl S3Allowed {
    pub(crate) fn open(configured: &BTreeMap<String, Vec<String>>) -> Result<Self, Complaint> {
        let mut allowed = BTreeMap::new();
        for (dialect, places) in configured {
            let places = places.iter().map(|text| {
                let (bucket, prefix) = split(text)?;
                let prefix = prefix.trim_end_matches('/');
                if !prefix.is_empty() {
                    check_key(text, prefix)?;
                }
                Ok(S3Name { bucket: bucket.to_owned(), key: prefix.to_owned() })
            });
            allowed.insert(dialect.clone(), places.collect::<Result<_, Complaint>>()?);
        }
        Ok(Self(allowed))
    }

    pub(crate) fn allow(&self, dialect: &str, text: &str) -> Result<(), Complaint> {
        let name = S3Name::parse(text)?;
        let places = self.0.get(dialect).map(Vec::as_slice).unwrap_or_default();
        let holds = |place: &S3Name| {
            // `pre` holds `pre/x` but not `prefix2/x`
            let below = name.key.strip_prefix(place.key.as_str());
            let below =
                below.is_some_and(|rest| place.key.is_empty() || rest.is_empty() || rest.starts_with('/'));
            place.bucket == name.bucket && below
        };
        if places.iter().any(holds) {
            return Ok(());
        }
        let message = format!("`{name}` is not in a bucket and prefix that {dialect} may use");
        let hint = format!(
            "the operator allows places with [store.s3_allowed] {dialect} = [\"s3://bucket/prefix\"]"
        );
        Err(Complaint::new("s3_not_allowed", message, hint))
    }
}

/// Bucket and the rest.
fn split(text: &str) -> Result<(&str, &str), Complaint> {
    let rest = match text.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("s3://") => &text[5..],
        _ => return Err(bad(text, "it does not begin with s3://")),
    };
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let letters = bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    // 63 today, 255 for buckets made long ago
    if !(3..=255).contains(&bucket.len())
        || !letters
        || bucket.contains("..")
        || bucket.starts_with(['.', '-'])
    {
        return Err(bad(text, "its bucket has no valid name"));
    }
    Ok((bucket, key))
}

fn check_key(text: &str, key: &str) -> Result<(), Complaint> {
    if key.len() > KEY_BYTES {
        let message = format!("the key of an s3:// name has {} bytes, the limit is {KEY_BYTES}", key.len());
        return Err(Complaint::new("bad_s3_name", message, "use a shorter key"));
    }
    if key.chars().any(char::is_control) {
        return Err(bad(text, "it holds a control character"));
    }
    if key.trim() != key {
        return Err(bad(text, "its key begins or ends with a blank"));
    }
    // S3 takes them literally, but clients and proxies on the way do not
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad(text, "a part of its key is empty, `.` or `..`"));
    }
    Ok(())
}

fn bad(text: &str, why: &str) -> Complaint {
    let shown: String = text.chars().take(200).collect();
    let message = format!("`{}` is no name of an object in S3: {why}", shown.escape_debug());
    Complaint::new("bad_s3_name", message, "write it like s3://bucket/folder/file.mp4")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_refused() {
        let name = S3Name::parse("S3://my-bucket/folder/a b+ä%2F.mp4").unwrap();
        assert_eq!((name.bucket.as_str(), name.key.as_str()), ("my-bucket", "folder/a b+ä%2F.mp4"));
        assert_eq!(name.to_string(), "s3://my-bucket/folder/a b+ä%2F.mp4");
        let long = format!("s3://bucket/{}", "k".repeat(1025));
        for text in [
            "",
            "s3:",
            "s3://",
            "s3:///key",
            "s3://b/key",
            "s3://bucket",
            "s3://bucket/",
            "s3://bucket/folder/",
            "s3://bucket//key",
            "s3://bucket/a//b",
            "s3://bucket/../key",
            "s3://bucket/a/./b",
            "s3://bucket/a/..",
            "s3://bu cket/key",
            "s3://bucket@evil/key",
            "s3://bucket:80/key",
            "s3://..bucket/key",
            "s3://bu..cket/key",
            "s3://-bucket/key",
            "s3://bucket/a\nb",
            "s3://bucket/a\0",
            "s3://bucket/ a",
            "s3://bucket/a ",
            "https://bucket/key",
            "gs://bucket/key",
            &long,
        ] {
            assert_eq!(S3Name::parse(text).unwrap_err().code, "bad_s3_name", "{text}");
        }
    }

    #[test]
    fn a_dialect_stays_in_its_places() {
        let configured = BTreeMap::from([
            (
                "musetalk_s3".to_owned(),
                vec!["s3://b-1/pre".to_owned(), "S3://b-2".into(), "s3://b-3/a/b/".into()],
            ),
            ("svd".to_owned(), vec![]),
        ]);
        let allowed = S3Allowed::open(&configured).unwrap();
        for name in
            ["s3://b-1/pre/x", "S3://b-1/pre/x/y", "s3://b-1/pre", "s3://b-2/any/thing", "s3://b-3/a/b/c"]
        {
            assert_eq!(allowed.allow("musetalk_s3", name), Ok(()), "{name}");
        }
        for name in [
            "s3://b-1/prefix2/x",
            "s3://b-1/Pre/x",
            "s3://b-1/x",
            "s3://b-1/pr",
            "s3://b-11/pre/x",
            "s3://B-1/pre/x",
            "s3://b-3/a/x",
            "s3://b-3/a/bc",
            "s3://other/x",
        ] {
            assert_eq!(allowed.allow("musetalk_s3", name).unwrap_err().code, "s3_not_allowed", "{name}");
        }
        for name in ["s3://b-1/pre/../x", "s3://b-1/prefix2/..", "s3://b-1/pre//x"] {
            assert_eq!(allowed.allow("musetalk_s3", name).unwrap_err().code, "bad_s3_name", "{name}");
        }
        for dialect in ["svd", "infinitetalk", ""] {
            assert_eq!(allowed.allow(dialect, "s3://b-2/x").unwrap_err().code, "s3_not_allowed");
        }
        for bad in ["b-1/pre", "s3://b/x", "s3://bucket/../x"] {
            let configured = BTreeMap::from([("svd".to_owned(), vec![bad.to_owned()])]);
            assert_eq!(S3Allowed::open(&configured).unwrap_err().code, "bad_s3_name", "{bad}");
        }
    }
}
