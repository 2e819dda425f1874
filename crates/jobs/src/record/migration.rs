//! The tables, made by the server alone. A new version of them is a new migration at the end of the list;
//! one that has been in a commit is never changed again (`tests/faults/test_upgrade.py`).

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, big_pk_auto, boolean, integer, string, string_null, text, text_null,
};

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(Tables),
            Box::new(Aliases),
            Box::new(Terms),
            Box::new(Sparse),
            Box::new(OneTwinIndex),
            Box::new(PinnedAvatar),
        ]
    }

    /// Not the default's name: the database may be shared with another program.
    fn migration_table_name() -> DynIden {
        "talkie_migrations".into_iden()
    }
}

/// What orders agree on besides their work.
struct Terms;

impl MigrationName for Terms {
    fn name(&self) -> &str {
        "m0003_terms"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Terms {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // one column a statement: SQLite adds no more
        for (table, column) in [("jobs", "start_by_ms"), ("jobs", "keep_ms"), ("uploads", "expires_ms")] {
            let change = Table::alter().table(table).add_column(big_integer_null(column)).to_owned();
            manager.alter_table(change).await?;
        }
        let webhooks = Table::create()
            .table("webhooks")
            .col(big_integer("job").primary_key())
            .col(string("dialect"))
            .col(text("url"))
            .col(integer("tries"))
            .col(big_integer_null("next_ms"))
            .col(big_integer_null("delivered_ms"))
            .foreign_key(
                ForeignKey::create()
                    .from("webhooks", "job")
                    .to("jobs", "seq")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(webhooks).await?;
        for (name, table, column) in [
            ("webhooks_next", "webhooks", "next_ms"),
            ("jobs_start_by", "jobs", "start_by_ms"),
            ("uploads_expire", "uploads", "expires_ms"),
        ] {
            manager.create_index(Index::create().name(name).table(table).col(column).to_owned()).await?;
        }
        Ok(())
    }
}

/// Indexes of columns that most jobs leave empty hold only those that do not: a submit then writes half as many pages.
struct Sparse;

impl MigrationName for Sparse {
    fn name(&self) -> &str {
        "m0004_sparse_indexes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Sparse {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let door = ["dialect", "owner"];
        for (name, before, column, unique) in [
            ("jobs_idempotency", &door[..], "idempotency", true),
            ("jobs_living_twin", &door, "living_twin", true),
            ("jobs_twin", &door, "twin", false),
            ("jobs_ended", &[], "ended_ms", false),
            ("jobs_take", &[], "take_bytes", false),
            ("jobs_start_by", &[], "start_by_ms", false),
        ] {
            manager.drop_index(Index::drop().name(name).table("jobs").to_owned()).await?;
            let mut index = Index::create();
            index.name(name).table("jobs").cond_where(Expr::col(column).is_not_null());
            for part in before.iter().copied().chain([column]) {
                index.col(part);
            }
            if unique {
                index.unique();
            }
            manager.create_index(index.to_owned()).await?;
        }
        Ok(())
    }
}

/// Whoever takes an order in looks for its living twin under a lock, so that no index need keep two of them apart: an index of
/// such keys costs each submit a page of its own.
struct OneTwinIndex;

impl MigrationName for OneTwinIndex {
    fn name(&self) -> &str {
        "m0005_one_twin_index"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for OneTwinIndex {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name("jobs_living_twin").table("jobs").to_owned()).await
    }
}

/// `jobs.avatar` came into the first migration after databases had been made by it: whoever has one of those gets it here.
struct PinnedAvatar;

impl MigrationName for PinnedAvatar {
    fn name(&self) -> &str {
        "m0006_pinned_avatar"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for PinnedAvatar {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.has_column("jobs", "avatar").await? {
            return Ok(());
        }
        manager.alter_table(Table::alter().table("jobs").add_column(text_null("avatar")).to_owned()).await
    }
}

struct Tables;

impl MigrationName for Tables {
    fn name(&self) -> &str {
        "m0001_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Tables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let jobs = Table::create()
            .table("jobs")
            .col(big_pk_auto("seq"))
            .col(string("id"))
            .col(string("dialect"))
            .col(string("owner"))
            .col(text("work"))
            .col(boolean("live"))
            .col(text("deliver"))
            .col(text("note"))
            .col(string("work_hash"))
            .col(string_null("idempotency"))
            .col(string_null("twin"))
            .col(string_null("living_twin"))
            .col(string("state"))
            .col(integer("priority"))
            .col(integer("attempt"))
            .col(integer("deaths"))
            .col(integer("shortages"))
            .col(boolean("cancel"))
            .col(boolean("litter"))
            .col(string_null("boot"))
            .col(big_integer("beat"))
            .col(text_null("avatar_key"))
            .col(text_null("avatar"))
            .col(big_integer("created_ms"))
            .col(big_integer_null("started_ms"))
            .col(big_integer_null("ended_ms"))
            .col(string_null("stage"))
            .col(big_integer("done"))
            .col(big_integer("of"))
            .col(big_integer_null("eta_ms"))
            .col(text_null("ending"))
            .col(text_null("take_key"))
            .col(big_integer_null("take_bytes"))
            .col(big_integer("lines"))
            .to_owned();
        let log = Table::create()
            .table("job_log")
            .col(big_integer("job"))
            .col(big_integer("n"))
            .col(big_integer("at_ms"))
            .col(string("level"))
            .col(text("message"))
            .primary_key(Index::create().col("job").col("n"))
            .foreign_key(
                ForeignKey::create()
                    .from("job_log", "job")
                    .to("jobs", "seq")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        let avatars = Table::create()
            .table("avatars")
            .col(string("dialect"))
            .col(string("owner"))
            .col(string("name"))
            .col(string("engine"))
            .col(text("key"))
            .col(string("source_sha256"))
            .col(big_integer("created_ms"))
            .col(text("note"))
            .col(big_integer("made_by"))
            .primary_key(Index::create().col("dialect").col("owner").col("name"))
            .to_owned();
        let uploads = Table::create()
            .table("uploads")
            .col(string("key").primary_key())
            .col(big_integer("used_ms"))
            .to_owned();
        let doomed = Table::create().table("doomed").col(string("key").primary_key()).to_owned();
        for table in [jobs, log, avatars, uploads, doomed] {
            manager.create_table(table).await?;
        }
        let unique = |name: &str, columns: [&'static str; 3]| {
            let mut index = Index::create();
            index.name(name.to_owned()).table("jobs").unique();
            columns.into_iter().for_each(|column| {
                index.col(column);
            });
            index.to_owned()
        };
        let indexes = [
            Index::create().name("jobs_id").table("jobs").unique().col("id").to_owned(),
            unique("jobs_idempotency", ["dialect", "owner", "idempotency"]),
            unique("jobs_living_twin", ["dialect", "owner", "living_twin"]),
            Index::create()
                .name("jobs_queue")
                .table("jobs")
                .col("state")
                .col("priority")
                .col("seq")
                .to_owned(),
            Index::create()
                .name("jobs_twin")
                .table("jobs")
                .col("dialect")
                .col("owner")
                .col("twin")
                .to_owned(),
            Index::create().name("jobs_ended").table("jobs").col("ended_ms").to_owned(),
            Index::create().name("jobs_take").table("jobs").col("take_bytes").to_owned(),
        ];
        for index in indexes {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

/// Idempotency keys of requests that joined a job of others.
struct Aliases;

impl MigrationName for Aliases {
    fn name(&self) -> &str {
        "m0002_aliases"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Aliases {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let aliases = Table::create()
            .table("job_aliases")
            .col(string("dialect"))
            .col(string("owner"))
            .col(string("idempotency"))
            .col(big_integer("job"))
            .primary_key(Index::create().col("dialect").col("owner").col("idempotency"))
            .foreign_key(
                ForeignKey::create()
                    .from("job_aliases", "job")
                    .to("jobs", "seq")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(aliases).await?;
        // for the cascade
        let index = Index::create().name("job_aliases_job").table("job_aliases").col("job").to_owned();
        manager.create_index(index).await
    }
}
