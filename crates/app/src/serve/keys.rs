//! `talkie key`: makes an API key. The server keeps only its hash.

use std::process::ExitCode;

use contract::Complaint;
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::config::check_key_name;
use crate::say;

const BYTES: usize = 24;

pub fn run(name: &str) -> Result<ExitCode, Complaint> {
    check_key_name(name)?;
    let mut secret = [0u8; BYTES];
    rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Complaint::new("internal", format!("there is no randomness: {error}"), ""))?;
    let key = format!("talkie_{}", hex::encode(secret));
    say::line(&key)?;
    let hash = format!("sha256:{}", hex::encode(Sha256::digest(key.as_bytes())));
    // a name with a dot or an @ is quoted
    let line = Table::from_iter([(name.to_owned(), Value::String(hash))]);
    say::aside(format_args!(
        "shown this once; put this into the configuration file:\n[keys]\n{}",
        line.to_string().trim()
    ));
    Ok(ExitCode::SUCCESS)
}
