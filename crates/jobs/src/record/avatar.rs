//! Avatars: a name, the asset it stands for now, and who made it. An asset that has lost its name is doomed: it goes when no
//! living job holds it any more.

use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{QueryOrder, QuerySelect, QueryTrait};

use super::{Record, found, job};
use crate::crew::AvatarAsset;
use crate::{AvatarName, AvatarView, PrepareSpec, Prepared};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "avatars")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub dialect: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub engine: String,
    pub key: String,
    pub source_sha256: String,
    pub created_ms: i64,
    pub note: String,
    /// `seq` of the job that made it: a job that was ordered earlier and ends later does not replace it.
    pub made_by: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Assets without a name.
pub mod doomed {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "doomed")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub async fn find<C: ConnectionTrait>(db: &C, name: &AvatarName) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(primary(name)).one(db).await
}

/// The asset that a name stands for. On Postgres the name is held until the transaction ends, so that the asset cannot lose
/// its name unseen in between; on SQLite there is one writer.
pub async fn asset<C: ConnectionTrait>(db: &C, name: &AvatarName) -> Result<Option<AvatarAsset>, DbErr> {
    let row = Entity::find_by_id(primary(name)).lock_shared().one(db).await?;
    Ok(row.map(|row| AvatarAsset { key: row.key, engine: row.engine, source_sha256: row.source_sha256 }))
}

pub async fn list<C: ConnectionTrait>(
    db: &C,
    dialect: Option<&str>,
    owner: Option<&str>,
) -> Result<Vec<AvatarView>, DbErr> {
    let rows = Entity::find()
        .apply_if(dialect, |query, dialect| query.filter(Column::Dialect.eq(dialect)))
        .apply_if(owner, |query, owner| query.filter(Column::Owner.eq(owner)))
        .order_by_asc(Column::Name)
        .order_by_asc(Column::Dialect)
        .order_by_asc(Column::Owner)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(Model::view).collect())
}

impl Model {
    pub fn view(self) -> AvatarView {
        AvatarView {
            note: found(&self.note).unwrap_or_default(),
            key: self.key,
            avatar: AvatarName { dialect: self.dialect, owner: self.owner, name: self.name },
            engine: self.engine,
            source_sha256: self.source_sha256,
            created_ms: self.created_ms,
        }
    }
}

/// Inside the transaction that ends the Prepare job.
pub async fn replace<C: ConnectionTrait>(
    db: &C,
    job: &job::Model,
    (spec, prepared): (&PrepareSpec, &Prepared),
    now_ms: i64,
) -> Result<(), DbErr> {
    let old = Entity::find_by_id(primary(&spec.avatar)).lock_exclusive().one(db).await?;
    match old {
        Some(old) if old.made_by > job.seq => return doom(db, &prepared.key).await,
        Some(old) if old.key != prepared.key => doom(db, &old.key).await?,
        Some(_) | None => {}
    }
    let row = ActiveModel {
        dialect: Set(spec.avatar.dialect.clone()),
        owner: Set(spec.avatar.owner.clone()),
        name: Set(spec.avatar.name.clone()),
        engine: Set(prepared.engine.clone()),
        key: Set(prepared.key.clone()),
        source_sha256: Set(prepared.source_sha256.clone()),
        created_ms: Set(now_ms),
        note: Set(job.note.clone()),
        made_by: Set(job.seq),
    };
    let mine = OnConflict::columns([Column::Dialect, Column::Owner, Column::Name])
        .update_columns([
            Column::Engine,
            Column::Key,
            Column::SourceSha256,
            Column::CreatedMs,
            Column::Note,
            Column::MadeBy,
        ])
        .to_owned();
    Entity::insert(row).on_conflict(mine).exec_without_returning(db).await?;
    Ok(())
}

pub async fn delete(record: &Record, name: &AvatarName) -> Result<bool, DbErr> {
    let tx = record.begin().await?;
    let Some(row) = Entity::find_by_id(primary(name)).lock_exclusive().one(&tx).await? else {
        return Ok(false);
    };
    Entity::delete_by_id(primary(name)).exec(&tx).await?;
    doom(&tx, &row.key).await?;
    tx.commit().await?;
    Ok(true)
}

/// Whether a file that a late worker tells of is somebody's after all.
pub async fn is_known<C: ConnectionTrait>(db: &C, key: &str) -> Result<bool, DbErr> {
    let named = Entity::find().filter(Column::Key.eq(key)).one(db).await?.is_some();
    Ok(named || doomed::Entity::find_by_id(key.to_owned()).one(db).await?.is_some())
}

/// Whether an asset is there to be pinned: it has its name, or has lost it and not gone yet.
pub async fn is_there<C: ConnectionTrait>(db: &C, name: &AvatarName, key: &str) -> Result<bool, DbErr> {
    if asset(db, name).await?.is_some_and(|asset| asset.key == key) {
        return Ok(true);
    }
    Ok(doomed::Entity::find_by_id(key.to_owned()).lock_shared().one(db).await?.is_some())
}

/// Doomed assets that no living job holds.
pub async fn unused<C: ConnectionTrait>(db: &C) -> Result<Vec<String>, DbErr> {
    let doomed: Vec<String> =
        doomed::Entity::find().select_only().column(doomed::Column::Key).into_tuple().all(db).await?;
    if doomed.is_empty() {
        return Ok(doomed);
    }
    let held = job::assets_in_use(db).await?;
    Ok(doomed.into_iter().filter(|key| !held.contains(key)).collect())
}

/// False if a job has pinned it since.
pub async fn forget_doomed(record: &Record, key: &str) -> Result<bool, DbErr> {
    let tx = record.begin().await?;
    let gone = doomed::Entity::delete_by_id(key.to_owned()).exec(&tx).await?;
    if gone.rows_affected == 0 || job::assets_in_use(&tx).await?.contains(key) {
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

pub async fn doom<C: ConnectionTrait>(db: &C, key: &str) -> Result<(), DbErr> {
    let once = OnConflict::column(doomed::Column::Key).update_column(doomed::Column::Key).to_owned();
    let row = doomed::ActiveModel { key: Set(key.to_owned()) };
    doomed::Entity::insert(row).on_conflict(once).exec_without_returning(db).await?;
    Ok(())
}

fn primary(name: &AvatarName) -> (String, String, String) {
    (name.dialect.clone(), name.owner.clone(), name.name.clone())
}
