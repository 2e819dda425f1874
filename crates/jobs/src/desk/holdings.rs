//! What lies at the desk: uploads, takes and avatars.

use std::sync::Arc;

use contract::Complaint;

use super::Desk;
use super::asking::is_nobodys;
use super::upload::{self, Upload};
use crate::record::{avatar, broken, keep};
use crate::{AvatarName, AvatarView, Ending};

impl Desk {
    /// An upload on its way into the store, at most `limit` bytes.
    pub async fn receive(&self, file_name: &str, limit: u64) -> Result<Upload, Complaint> {
        self.receive_as(&self.upload_key(file_name), limit).await
    }

    /// A key for an upload of this name that is still to come.
    pub fn upload_key(&self, file_name: &str) -> String {
        upload::key(file_name)
    }

    /// An upload below a key that was promised before.
    pub async fn receive_as(&self, key: &str, limit: u64) -> Result<Upload, Complaint> {
        Upload::begin(Arc::clone(&self.inner), key.to_owned(), limit).await
    }

    /// Its sender wants it gone by then.
    pub async fn expire_upload(&self, key: &str, at_ms: i64) -> Result<(), Complaint> {
        keep::expire_upload(&self.inner.record.write, key, at_ms).await.map_err(|error| broken(&error))
    }

    /// Removes an upload that no job names.
    pub async fn discard(&self, key: &str) -> Result<(), Complaint> {
        upload::discard(&self.inner, key).await
    }

    /// A take of a job that is done, to be read; it is not removed before this is dropped.
    pub async fn open_take(&self, id: &str) -> Result<Option<store::Reading>, Complaint> {
        match self.job(id, None).await?.as_ref().and_then(|view| view.ending.as_ref()) {
            // what a live session showed was kept nowhere
            Some(Ending::Made(made)) if made.removed_ms.is_none() && !made.key.is_empty() => {
                self.inner.store.read(&made.key).await
            }
            _ => Ok(None),
        }
    }

    /// An upload, by its key.
    pub async fn open_upload(&self, key: &str) -> Result<Option<store::Reading>, Complaint> {
        let known = keep::has_upload(&self.inner.record.read, key).await.map_err(|error| broken(&error))?;
        if known { self.inner.store.read(key).await } else { Ok(None) }
    }

    pub async fn avatar(&self, name: &AvatarName) -> Result<Option<AvatarView>, Complaint> {
        if is_nobodys_avatar(name) {
            return Ok(None);
        }
        let found = avatar::find(&self.inner.record.read, name).await;
        found.map(|row| row.map(avatar::Model::view)).map_err(|error| broken(&error))
    }

    /// By name. `None` as owner: everybody's.
    pub async fn avatars(
        &self,
        dialect: Option<&str>,
        owner: Option<&str>,
    ) -> Result<Vec<AvatarView>, Complaint> {
        if [dialect, owner].into_iter().flatten().any(is_nobodys) {
            return Ok(Vec::new());
        }
        avatar::list(&self.inner.record.read, dialect, owner).await.map_err(|error| broken(&error))
    }

    /// False if there was none. A session that uses it goes on.
    pub async fn delete_avatar(&self, name: &AvatarName) -> Result<bool, Complaint> {
        if is_nobodys_avatar(name) {
            return Ok(false);
        }
        let deleted = avatar::delete(&self.inner.record, name).await.map_err(|error| broken(&error))?;
        if deleted {
            self.inner.drop_doomed().await?;
        }
        Ok(deleted)
    }
}

fn is_nobodys_avatar(name: &AvatarName) -> bool {
    [&name.dialect, &name.owner, &name.name].into_iter().any(|part| is_nobodys(part))
}
