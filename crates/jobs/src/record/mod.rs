//! The record: every job, its log, the avatars and the uploads, in SQLite or Postgres by one code path. Nothing else in this
//! room writes SQL. A change of state is one guarded UPDATE; who meets another state or attempt than expected changes nothing.

pub mod alias;
pub mod avatar;
pub mod claim;
pub mod clerk;
pub mod enter;
pub mod job;
pub mod keep;
pub mod line;
pub mod log;
mod migration;
pub mod ordered;
pub mod settle;
pub mod webhook;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::Complaint;
use sea_orm::sqlx::Connection;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    Select, SqlErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

use line::Line;

/// How long a statement waits for a lock that another program holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 8;
/// Key of the advisory lock under which one server of a fleet migrates: "talkie" in ASCII.
const MIGRATION_LOCK: i64 = 0x74_61_6c_6b_69_65;

/// Clones are one record.
#[derive(Clone, Debug)]
pub struct Record {
    pub write: DatabaseConnection,
    pub read: DatabaseConnection,
    /// Other servers may work on it too.
    pub shared: bool,
    pub line: Arc<Line>,
}

/// Held for as long as a server works on its data folder.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    pub fn take(folder: &Path) -> Result<Self, Complaint> {
        let path = folder.join("talkie.lock");
        let cannot = |error: std::io::Error| {
            let message = format!("{} cannot be locked: {error}", path.display());
            Complaint::new("data_unusable", message, "check the data folder and its rights")
        };
        std::fs::create_dir_all(folder).map_err(cannot)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(cannot)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Complaint::new(
                "data_in_use",
                format!("another talkie server works in {} (it holds {})", folder.display(), path.display()),
                "stop it, or give this one another folder with --data",
            )),
            Err(errno) => Err(cannot(errno.into())),
        }
    }
}

impl Record {
    /// Opens and migrates.
    pub async fn open(url: &str) -> Result<Self, Complaint> {
        let opened = if url.starts_with("sqlite:") {
            Self::sqlite(url).await
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Self::postgres(url).await
        } else {
            let scheme = url.split(':').next().unwrap_or_default();
            return Err(Complaint::new(
                "bad_database",
                format!("a database URL cannot begin with `{scheme}:`"),
                "write sqlite://PATH?mode=rwc or postgres://USER@HOST/DATABASE",
            ));
        };
        opened.map_err(|error| {
            let (code, hint) = cause(&error);
            Complaint::new(code, format!("the record of jobs cannot be opened: {error}"), hint)
        })
    }

    /// One connection writes, so that no two writers of ours meet at the file's lock; WAL lets readers go on beside it.
    /// synchronous=FULL: a submit that was answered survives a power cut. It costs one sync of the log a commit, and jobs come by
    /// the second, not by the millisecond; NORMAL would lose the last commits.
    async fn sqlite(url: &str) -> Result<Self, DbErr> {
        let mut options = options(url, 1);
        options.map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY_TIMEOUT)
                .foreign_keys(true)
                // how many pages are carried from the log into the file at a time: most are written more than once until then
                .pragma("wal_autocheckpoint", "4000")
                // what a statement of many rows may have to take back: not worth a file each time
                .pragma("temp_store", "MEMORY")
                .create_if_missing(true)
        });
        options.map_sqlx_sqlite_pool_opts(|pool| {
            pool.before_acquire(|connection, _| {
                Box::pin(async move {
                    if !connection.is_in_transaction() {
                        return Ok(true);
                    }
                    // what its last holder gave up may still be on its way back
                    connection.ping().await?;
                    // SQLite ends a transaction by itself when the disk is full. sqlx would go on counting it, and what is
                    // written later would lie inside it, uncommitted: such a connection is closed.
                    Ok(!connection.is_in_transaction())
                })
            })
        });
        let write = Database::connect(options).await?;
        migration::Migrator::up(&write, None).await?;
        let mut options = self::options(url, READERS);
        options.map_sqlx_sqlite_opts(|sqlite| sqlite.read_only(true).busy_timeout(BUSY_TIMEOUT));
        let read = Database::connect(options).await?;
        let line = job::line(&read).await?;
        Ok(Self { write, read, shared: false, line: Arc::new(line) })
    }

    async fn postgres(url: &str) -> Result<Self, DbErr> {
        let mut options = options(url, POSTGRES_CONNECTIONS);
        let patience = BUSY_TIMEOUT.as_millis().to_string();
        options
            .map_sqlx_postgres_opts(move |postgres| postgres.options([("lock_timeout", patience.as_str())]));
        let pool = Database::connect(options).await?;
        // two servers that start at once must not both create the tables
        let lock = pool.begin().await?;
        let sql = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
        lock.execute_raw(Statement::from_string(pool.get_database_backend(), sql)).await?;
        migration::Migrator::up(&pool, None).await?;
        lock.commit().await?;
        let line = job::line(&pool).await?;
        Ok(Self { write: pool.clone(), read: pool, shared: true, line: Arc::new(line) })
    }

    /// A transaction that will write: on SQLite it has the write lock from its first statement, so that it never fails for a
    /// reader that turned writer too late.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.write.begin_with_options(immediate).await
    }

    /// Commits what may change who waits.
    async fn commit(&self, tx: DatabaseTransaction) -> Result<(), DbErr> {
        let committed = tx.commit().await;
        if committed.is_err() {
            // it may have been taken all the same
            self.line.doubt();
        }
        committed
    }

    /// How many jobs wait.
    pub async fn waiting(&self) -> Result<u64, DbErr> {
        match self.line.waiting() {
            Some(waiting) if !self.shared => Ok(waiting),
            Some(_) | None => {
                let changes = self.line.changes();
                let waiting = job::queued(&self.read).await?;
                self.line.counted(changes, waiting);
                Ok(waiting)
            }
        }
    }

    pub async fn close(&self) {
        // an error here means that the connections are gone already
        let _ = self.read.close_by_ref().await;
        let _ = self.write.close_by_ref().await;
    }
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).sqlx_logging(false);
    if url.starts_with("sqlite:") {
        // a file does not hang up; who writes has a test of its own
        options.test_before_acquire(false);
    }
    options
}

/// The row of a key that is its own. Not `one`: its LIMIT is a bound value, and SQLite plans such a statement anew each time.
pub async fn only<E: EntityTrait, C: ConnectionTrait>(
    db: &C,
    query: Select<E>,
) -> Result<Option<E::Model>, DbErr> {
    Ok(query.all(db).await?.pop())
}

/// Two transactions met at a unique index: the one that lost looks again and finds the other's row.
pub fn is_collision(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

/// For a client: the driver's words name files, hosts and users, and are for the log.
pub fn broken(error: &DbErr) -> Complaint {
    tracing::error!(%error, "the record does not answer");
    let (code, hint) = cause(error);
    Complaint::new(code, "the record of jobs cannot be used at the moment", hint)
}

fn cause(error: &DbErr) -> (&'static str, &'static str) {
    let text = error.to_string();
    if text.contains("disk is full") || text.contains("No space left") {
        ("disk_full", "free some space where the database is")
    } else if text.contains("is locked") || text.contains("lock timeout") {
        (
            "record_unavailable",
            "another program holds a lock on the database; end it and send the request again",
        )
    } else {
        ("record_unavailable", "check that the database is reachable, then send the request again")
    }
}

/// Nouns that are kept as JSON were made by us.
pub fn kept<T: serde::Serialize>(noun: &T) -> String {
    serde_json::to_string(noun).expect("nouns of the record have string keys and no unserialisable parts")
}

pub fn found<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, DbErr> {
    // not the text itself: it may hold secrets of a user's URL
    serde_json::from_str(text).map_err(|error| DbErr::Type(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap 1 of the queue libraries: a set-up that turns syncing off.
    #[tokio::test]
    async fn the_writer_syncs_every_commit_and_readers_do_not_write() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("talkie.db").display());
        let record = Record::open(&url).await.unwrap();
        let pragma = async |db: &DatabaseConnection, name: &str| -> String {
            let sql = Statement::from_string(db.get_database_backend(), format!("PRAGMA {name}"));
            let row = db.query_one_raw(sql).await.unwrap().unwrap();
            row.try_get_by_index::<i64>(0)
                .map(|n| n.to_string())
                .or_else(|_| row.try_get_by_index::<String>(0))
                .unwrap()
        };
        let rows =
            [("synchronous", "2"), ("journal_mode", "wal"), ("foreign_keys", "1"), ("busy_timeout", "5000")];
        for (name, expected) in rows {
            assert_eq!(pragma(&record.write, name).await, expected, "{name}");
        }
        assert!(record.read.execute_unprepared("DELETE FROM jobs").await.is_err());
        record.close().await;
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_takes_nothing_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("talkie.db").display());
        let record = Record::open(&url).await.unwrap();
        record.write.execute_unprepared("CREATE TABLE seen (n INTEGER)").await.unwrap();
        // what SQLite does of itself when the disk is full
        let ended = record.begin().await.unwrap();
        ended.execute_unprepared("ROLLBACK").await.unwrap();
        drop(ended);
        let tx = record.begin().await.unwrap();
        tx.execute_unprepared("INSERT INTO seen VALUES (1)").await.unwrap();
        tx.commit().await.unwrap();
        let sql = Statement::from_string(record.read.get_database_backend(), "SELECT count(*) FROM seen");
        let row = record.read.query_one_raw(sql).await.unwrap().unwrap();
        assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 1, "what was committed is seen by others");
        record.close().await;
    }

    #[tokio::test]
    async fn what_is_no_database_is_refused_by_name() {
        for (url, code) in [
            ("mysql://x", "bad_database"),
            ("", "bad_database"),
            ("sqlite:///no/such/folder/x.db", "record_unavailable"),
            ("postgres://nobody@localhost/x?host=/no/such/folder", "record_unavailable"),
        ] {
            assert_eq!(Record::open(url).await.unwrap_err().code, code, "{url}");
        }
    }
}
