//! Idempotency keys that found their work under way already: the key is the name of that job from then on, for as long as its
//! record is kept.

use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "job_aliases")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub dialect: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub idempotency: String,
    /// `seq` of the job.
    pub job: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Whose key it is, and the key.
pub type Name<'a> = (&'a str, &'a str, &'a str);

pub async fn find<C: ConnectionTrait>(db: &C, (dialect, owner, key): Name<'_>) -> Result<Option<i64>, DbErr> {
    let name = (dialect.to_owned(), owner.to_owned(), key.to_owned());
    Ok(Entity::find_by_id(name).one(db).await?.map(|row| row.job))
}

pub async fn add<C: ConnectionTrait>(db: &C, (dialect, owner, key): Name<'_>, job: i64) -> Result<(), DbErr> {
    let row = ActiveModel {
        dialect: Set(dialect.to_owned()),
        owner: Set(owner.to_owned()),
        idempotency: Set(key.to_owned()),
        job: Set(job),
    };
    Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}
