//! What the record knows of files: uploads, takes and leftovers, for retention.

use std::collections::BTreeSet;

use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{Condition, QueryOrder, QuerySelect};

use super::claim::stored_inputs;
use super::job::{self, Column, Model as Job};
use super::{found, kept};
use crate::{Ending, State};

/// Uploads by key.
pub mod upload {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "uploads")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: String,
        /// When it came, or when a job last named it.
        pub used_ms: i64,
        /// Its sender wants it gone by then.
        pub expires_ms: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One whose file broke off at its end is added again when it is sent again.
pub async fn add_upload<C: ConnectionTrait>(db: &C, key: &str, now_ms: i64) -> Result<(), DbErr> {
    let row = upload::ActiveModel { key: Set(key.to_owned()), used_ms: Set(now_ms), expires_ms: Set(None) };
    let again = OnConflict::column(upload::Column::Key).update_column(upload::Column::UsedMs).to_owned();
    upload::Entity::insert(row).on_conflict(again).exec_without_returning(db).await?;
    Ok(())
}

/// A job names it: its age begins anew. False: retention took it.
pub async fn touch_upload<C: ConnectionTrait>(db: &C, key: &str, now_ms: i64) -> Result<bool, DbErr> {
    let used = upload::ActiveModel { used_ms: Set(now_ms), ..Default::default() };
    let met = upload::Entity::update_many().set(used).filter(upload::Column::Key.eq(key)).exec(db).await?;
    Ok(met.rows_affected > 0)
}

pub async fn has_upload<C: ConnectionTrait>(db: &C, key: &str) -> Result<bool, DbErr> {
    Ok(upload::Entity::find_by_id(key.to_owned()).one(db).await?.is_some())
}

pub async fn expire_upload<C: ConnectionTrait>(db: &C, key: &str, at_ms: i64) -> Result<(), DbErr> {
    let change = upload::ActiveModel { expires_ms: Set(Some(at_ms)), ..Default::default() };
    upload::Entity::update_many().set(change).filter(upload::Column::Key.eq(key)).exec(db).await?;
    Ok(())
}

/// Uploads that are old enough to go and that no living job names: last used before a time, or past their own.
pub async fn old_uploads<C: ConnectionTrait>(db: &C, old: UploadAge) -> Result<Vec<String>, DbErr> {
    let old: Vec<String> = upload::Entity::find()
        .filter(old.condition())
        .order_by_asc(upload::Column::UsedMs)
        .select_only()
        .column(upload::Column::Key)
        .into_tuple()
        .all(db)
        .await?;
    if old.is_empty() {
        return Ok(old);
    }
    let living = job::Entity::find()
        .filter(Column::State.is_in([State::Queued.name(), State::Running.name()]))
        .all(db)
        .await?;
    let mut named = BTreeSet::new();
    for row in living {
        // one that cannot be read will never read its inputs either
        if let Ok(work) = row.work() {
            named.extend(stored_inputs(&work).into_iter().map(str::to_owned));
        }
    }
    Ok(old.into_iter().filter(|key| !named.contains(key)).collect())
}

/// Which uploads are old: those last used before `cutoff_ms`, and those that expire by `now_ms`.
#[derive(Clone, Copy, Debug)]
pub struct UploadAge {
    pub cutoff_ms: Option<i64>,
    pub now_ms: i64,
}

impl UploadAge {
    /// Every one.
    pub const ANY: Self = Self { cutoff_ms: Some(i64::MAX), now_ms: i64::MAX };

    fn condition(self) -> Condition {
        Condition::any()
            .add(upload::Column::ExpiresMs.lte(self.now_ms))
            .add_option(self.cutoff_ms.map(|cutoff_ms| upload::Column::UsedMs.lt(cutoff_ms)))
    }
}

/// False if a job has named it since.
pub async fn forget_upload<C: ConnectionTrait>(db: &C, key: &str, old: UploadAge) -> Result<bool, DbErr> {
    let gone = upload::Entity::delete_many()
        .filter(upload::Column::Key.eq(key))
        .filter(old.condition())
        .exec(db)
        .await?;
    Ok(gone.rows_affected > 0)
}

pub struct KeptTake {
    pub seq: i64,
    pub key: String,
    pub bytes: u64,
    pub ended_ms: i64,
    /// How long it is kept after that.
    pub keep_ms: Option<i64>,
}

/// Takes whose file is there, newest first.
pub async fn takes<C: ConnectionTrait>(db: &C) -> Result<Vec<KeptTake>, DbErr> {
    type Row = (i64, Option<String>, Option<i64>, Option<i64>, Option<i64>);
    let rows: Vec<Row> = job::Entity::find()
        .filter(Column::TakeBytes.is_not_null())
        .order_by_desc(Column::EndedMs)
        .order_by_desc(Column::Seq)
        .select_only()
        .column(Column::Seq)
        .column(Column::TakeKey)
        .column(Column::TakeBytes)
        .column(Column::EndedMs)
        .column(Column::KeepMs)
        .into_tuple()
        .all(db)
        .await?;
    let take = |(seq, key, bytes, ended, keep_ms): Row| {
        Some(KeptTake { seq, key: key?, bytes: bytes? as u64, ended_ms: ended?, keep_ms })
    };
    Ok(rows.into_iter().filter_map(take).collect())
}

/// The file of a take is gone; the record of it stays.
pub async fn mark_removed<C: ConnectionTrait>(db: &C, seq: i64, now_ms: i64) -> Result<(), DbErr> {
    let Some(row) = job::Entity::find_by_id(seq).one(db).await? else { return Ok(()) };
    let ending = match row.ending.as_deref().map(found) {
        Some(Ok(Ending::Made(mut made))) => {
            made.removed_ms = Some(now_ms);
            Some(kept(&Ending::Made(made)))
        }
        _ => row.ending,
    };
    let change = job::ActiveModel { ending: Set(ending), take_bytes: Set(None), ..Default::default() };
    job::Entity::update_many().set(change).filter(Column::Seq.eq(seq)).exec(db).await?;
    Ok(())
}

/// Records of jobs that ended before `cutoff_ms` and left no file.
pub async fn forget_jobs<C: ConnectionTrait>(db: &C, cutoff_ms: i64) -> Result<u64, DbErr> {
    let gone = job::Entity::delete_many()
        .filter(Column::EndedMs.lt(cutoff_ms))
        .filter(Column::TakeBytes.is_null())
        .filter(Column::Litter.eq(false))
        .exec(db)
        .await?;
    Ok(gone.rows_affected)
}

/// Jobs that do not run and may have left files of attempts that came to nothing.
pub async fn littered<C: ConnectionTrait>(db: &C) -> Result<Vec<Job>, DbErr> {
    job::Entity::find().filter(Column::Litter.eq(true)).filter(Column::EndedMs.is_not_null()).all(db).await
}

pub async fn mark_tidy<C: ConnectionTrait>(db: &C, seq: i64) -> Result<(), DbErr> {
    let tidy = job::ActiveModel { litter: Set(false), ..Default::default() };
    job::Entity::update_many().set(tidy).filter(Column::Seq.eq(seq)).exec(db).await?;
    Ok(())
}
