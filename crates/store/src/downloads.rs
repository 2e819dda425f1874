//! Files at addresses that somebody else named, for whoever has no store: under the same guard and limits as the URLs of requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::Complaint;

use crate::FetchLimits;
use crate::address::Addresses;
use crate::fetch::Fetcher;
use crate::guard::{Guard, SystemLookup};

pub struct Downloads(Fetcher);

impl Downloads {
    pub fn new(limits: FetchLimits) -> Result<Self, Complaint> {
        let addresses = Addresses::open(&limits.allowed_networks)?;
        Ok(Self(Fetcher::new(Guard::new(addresses, Arc::new(SystemLookup)), limits)))
    }

    /// Into a new file in `folder`, which is the caller's to remove.
    pub async fn fetch(&self, url: &str, folder: &Path) -> Result<PathBuf, Complaint> {
        self.0.fetch(url, folder).await
    }
}
