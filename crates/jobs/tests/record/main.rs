//! The job core against real databases: every test runs on SQLite and on a private Postgres.

mod avatars;
mod basics;
mod carried;
mod crash;
mod crowd;
mod faults;
mod fleet;
mod idempotency;
mod live;
mod pace;
mod postgres;
mod retention;
mod schedules;
mod stage;
mod terms;
mod traps;

/// `both![name, …]`: each `async fn name(bed: Bed)` as a test on either database.
macro_rules! both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite { $(crate::both!(@one Sqlite $name);)+ }
        mod postgres { $(crate::both!(@one Postgres $name);)+ }
    };
    (@one $kind:ident $name:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let bed = $crate::stage::Bed::new($crate::stage::Kind::$kind).await;
            let limit = std::time::Duration::from_secs(120);
            tokio::time::timeout(limit, super::$name(bed)).await.expect("the test ends");
        }
    };
}
pub(crate) use both;
