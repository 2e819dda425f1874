//! The two statements of every submit, as text: to build them from the entity for each order costs more than to run them.

use std::fmt::Write as _;

use sea_orm::{ConnectionTrait, DatabaseBackend, DbErr, Statement, Value};

use crate::State;

/// What an order says of itself. All else of its row is as for anything that waits and has run nothing yet.
#[derive(Clone, Debug)]
pub struct Ordered {
    pub id: String,
    pub dialect: &'static str,
    pub owner: String,
    pub work: String,
    pub deliver: String,
    pub note: String,
    pub work_hash: String,
    pub idempotency: Option<String>,
    pub twin: Option<String>,
    pub priority: i32,
    pub created_ms: i64,
    pub start_by_ms: Option<i64>,
    pub keep_ms: Option<i64>,
}

impl Ordered {
    /// What two orders have in common that are one request: dialect, owner and twin.
    pub fn twin(&self) -> Option<(&str, &str, &str)> {
        self.twin.as_deref().map(|twin| (self.dialect, self.owner.as_str(), twin))
    }
}

/// An order that goes in, and the key and the pin of its avatar.
pub struct Entering<'a> {
    pub row: &'a Ordered,
    pub avatar_key: Option<String>,
    pub avatar: Option<String>,
}

const SAID: [&str; 16] = [
    "id",
    "dialect",
    "owner",
    "work",
    "deliver",
    "note",
    "work_hash",
    "idempotency",
    "twin",
    "living_twin",
    "priority",
    "created_ms",
    "start_by_ms",
    "keep_ms",
    "avatar_key",
    "avatar",
];

impl Entering<'_> {
    /// In the order of `SAID`.
    fn values(self) -> [Value; SAID.len()] {
        let row = self.row;
        [
            row.id.as_str().into(),
            row.dialect.into(),
            row.owner.as_str().into(),
            row.work.as_str().into(),
            row.deliver.as_str().into(),
            row.note.as_str().into(),
            row.work_hash.as_str().into(),
            row.idempotency.clone().into(),
            row.twin.clone().into(),
            // others may join it from now on
            row.twin.clone().into(),
            row.priority.into(),
            row.created_ms.into(),
            row.start_by_ms.into(),
            row.keep_ms.into(),
            self.avatar_key.into(),
            self.avatar.into(),
        ]
    }
}

/// The first line of each one's log is the row itself: see `log::since`.
pub async fn insert<C: ConnectionTrait>(db: &C, orders: Vec<Entering<'_>>) -> Result<(), DbErr> {
    let mut text = Text::new(db, 256 + 256 * orders.len());
    let _ = write!(
        text.sql,
        "INSERT INTO jobs (state, live, attempt, deaths, shortages, cancel, litter, beat, done, \"of\", lines, {}) VALUES ",
        SAID.join(", ")
    );
    for (n, order) in orders.into_iter().enumerate() {
        let (comma, queued) = (if n == 0 { "" } else { ", " }, State::Queued.name());
        let _ = write!(text.sql, "{comma}('{queued}', FALSE, 0, 0, 0, FALSE, FALSE, 0, 0, 0, 1");
        for value in order.values() {
            text.sql.push_str(", ");
            text.bind(value);
        }
        text.sql.push(')');
    }
    db.execute_raw(text.statement(db)).await?;
    Ok(())
}

/// Of Postgres: until the transaction ends, nobody else looks for this twin.
pub async fn lock<C: ConnectionTrait>(
    db: &C,
    (dialect, owner, twin): (&str, &str, &str),
) -> Result<(), DbErr> {
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    let name = format!("{dialect}\n{owner}\n{twin}");
    db.execute_raw(Statement::from_sql_and_values(db.get_database_backend(), sql, [name.into()])).await?;
    Ok(())
}

/// Which of these twins are in the record, of whichever dialect and owner among these.
pub async fn known_twins<C: ConnectionTrait>(
    db: &C,
    (dialects, owners, twins): (Vec<&str>, Vec<&str>, Vec<&str>),
) -> Result<Vec<String>, DbErr> {
    let mut text = Text::new(db, 128 + 8 * twins.len());
    text.sql.push_str("SELECT DISTINCT twin FROM jobs");
    for (opening, names) in
        [(" WHERE dialect IN (", dialects), (") AND owner IN (", owners), (") AND twin IN (", twins)]
    {
        text.sql.push_str(opening);
        for (n, name) in names.into_iter().enumerate() {
            text.sql.push_str(if n == 0 { "" } else { ", " });
            text.bind(name.into());
        }
    }
    text.sql.push(')');
    let rows = db.query_all_raw(text.statement(db)).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// A statement that grows.
struct Text {
    sql: String,
    values: Vec<Value>,
    numbered: bool,
}

impl Text {
    fn new<C: ConnectionTrait>(db: &C, room: usize) -> Self {
        let numbered = db.get_database_backend() == DatabaseBackend::Postgres;
        Self { sql: String::with_capacity(room), values: Vec::new(), numbered }
    }

    fn bind(&mut self, value: Value) {
        self.values.push(value);
        if self.numbered {
            let _ = write!(self.sql, "${}", self.values.len());
        } else {
            self.sql.push('?');
        }
    }

    fn statement<C: ConnectionTrait>(self, db: &C) -> Statement {
        Statement::from_sql_and_values(db.get_database_backend(), self.sql, self.values)
    }
}
