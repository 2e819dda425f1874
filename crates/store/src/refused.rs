//! What S3 refuses, told so that it can be mended: which bucket and key, what is wrong, what to do. What the library and
//! the server say is not repeated, since it may hold parts of keys and signatures.

use contract::Complaint;
use opendal::{Error, ErrorKind};

use crate::s3::S3Name;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Read,
    Write,
}

pub(crate) fn refused(doing: Doing, name: &S3Name, error: &Error) -> Complaint {
    tracing::debug!(%name, kind = error.kind().into_static(), "a request to S3 failed");
    let bucket = &name.bucket;
    let (verb, right) = match doing {
        Doing::Read => ("read", "s3:GetObject (and s3:ListBucket)"),
        Doing::Write => ("written", "s3:PutObject (and s3:DeleteObject)"),
    };
    let told = |code, message: String, hint: &str| Complaint::new(code, message, hint);
    match error.kind() {
        ErrorKind::NotFound => {
            let message = format!("there is no object {name}");
            told("s3_not_found", message, "check bucket and key; they are case-sensitive")
        }
        // how the library tells of a bucket that is not there
        ErrorKind::ConfigInvalid => {
            let message = format!("there is no bucket {bucket} for {name}");
            told("s3_no_bucket", message, "make the bucket, or check its name and the endpoint")
        }
        ErrorKind::PermissionDenied => {
            let message = format!("{name} may not be {verb} with the server's credentials");
            told("s3_denied", message, &format!("check the credentials and that they grant {right}"))
        }
        ErrorKind::RateLimited => {
            let message = format!("S3 asks to slow down for {name}");
            told("s3_busy", message, "try again later")
        }
        _ if error.message() == "signing http request" => {
            let message = format!("there are no credentials for {name}");
            let hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, a web identity or an instance role";
            told("s3_no_credentials", message, hint)
        }
        _ if error.is_temporary() || error.is_persistent() => {
            let message = format!("S3 does not answer for {name}");
            told("s3_unreachable", message, "check the endpoint and the network, then try again")
        }
        _ => {
            let message = format!("{name} cannot be {verb}: S3 refuses the request");
            told("s3_broken", message, "check region and endpoint of the bucket")
        }
    }
}
