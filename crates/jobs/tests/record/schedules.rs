//! Random schedules of everything that can happen, in any order: submits, ends, deaths, late and repeated answers, cancels,
//! restarts. Whatever the order: nothing is lost, each job ends once, and within a priority the order of submission holds.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jobs::crew::{Assignment, WorkerId};
use jobs::{Desk, Ending, Listing, Order, State};

use crate::stage::*;

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

struct Play {
    bed: Bed,
    desk: Desk,
    hand: Hand,
    dice: Dice,
    /// Id, priority, whether a cancel was asked.
    jobs: Vec<(String, i32, bool)>,
    workers: u64,
    /// Workers that died; the desk may not have heard it yet when it hands them something.
    dead: Vec<WorkerId>,
    at_work: Vec<(WorkerId, Assignment)>,
    /// Attempts whose worker or server is gone.
    over: Vec<Assignment>,
    /// By priority: the number of the job whose first attempt came last.
    first: HashMap<i32, usize>,
}

impl Play {
    async fn new(kind: Kind, seed: u64) -> Self {
        let bed = Bed::new(kind).await;
        let (desk, hand) = bed.open_with(quick).await;
        let (at_work, over, first) = (Vec::new(), Vec::new(), HashMap::new());
        let (jobs, dead, dice) = (Vec::new(), Vec::new(), Dice(seed));
        let mut play = Self { bed, desk, hand, dice, jobs, workers: 0, dead, at_work, over, first };
        play.hire();
        play
    }

    fn hire(&mut self) {
        self.workers += 1;
        self.hand.ready(WorkerId(self.workers), 1 + self.dice.roll(3), 0);
    }

    async fn step(&mut self) {
        match self.dice.roll(12) {
            0..=3 => {
                let priority = self.dice.roll(2) as i32;
                let id = submit(&self.desk, Order { priority, ..order() }).await;
                self.jobs.push((id, priority, false));
            }
            4..=6 => self.end_one().await,
            7 => {
                let Some(worker) = self.at_work.first().map(|(worker, _)| *worker) else { return };
                self.hand.gone(worker);
                self.dead.push(worker);
                self.leave(|at| at == worker);
                self.hire();
            }
            8 if !self.over.is_empty() => {
                let late = self.dice.roll(self.over.len());
                let key = self.bed.make(&self.hand, &self.over[late]).await;
                if self.dice.roll(2) == 0 {
                    self.hand.ended(&self.over[late], made(&key));
                }
            }
            9 if !self.jobs.is_empty() => {
                let n = self.dice.roll(self.jobs.len());
                self.desk.cancel(&self.jobs[n].0, None).await.unwrap();
                self.jobs[n].2 = true;
            }
            10 if self.dice.roll(3) == 0 => self.restart().await,
            _ => tokio::task::yield_now().await,
        }
        self.listen();
    }

    async fn end_one(&mut self) {
        self.await_work().await;
        if self.at_work.is_empty() {
            return;
        }
        let n = self.dice.roll(self.at_work.len());
        let (_, work) = self.at_work.swap_remove(n);
        match self.dice.roll(6) {
            0 => self.hand.ended(&work, failed("no_face")),
            1 => self.hand.ended(&work, failed("out_of_memory")),
            2 => {
                let key = self.bed.make(&self.hand, &work).await;
                self.hand.ended(&work, made(&key));
            }
            _ => drop(self.bed.make(&self.hand, &work).await),
        }
    }

    /// A database that is slow must not make a schedule in which nothing ever happens to a job: what was submitted has
    /// a moment to come to a worker.
    async fn await_work(&mut self) {
        let moment = tokio::time::Instant::now() + Duration::from_millis(50);
        while self.at_work.is_empty() && !self.jobs.is_empty() {
            let Ok(said) = tokio::time::timeout_at(moment, self.hand.said()).await else { return };
            self.hear(said);
        }
    }

    fn leave(&mut self, gone: impl Fn(WorkerId) -> bool) {
        let (over, stay) = std::mem::take(&mut self.at_work).into_iter().partition(|(at, _)| gone(*at));
        self.at_work = stay;
        let over: Vec<(WorkerId, Assignment)> = over;
        self.over.extend(over.into_iter().map(|(_, work)| work));
    }

    async fn restart(&mut self) {
        self.listen();
        let nowhere = Bed::new(Kind::Sqlite).await;
        let (desk, hand) = nowhere.open().await;
        drop((std::mem::replace(&mut self.desk, desk), std::mem::replace(&mut self.hand, hand)));
        self.leave(|_| true);
        (self.desk, self.hand) = self.bed.open_with(quick).await;
        self.hire();
    }

    fn listen(&mut self) {
        while let Some(said) = self.hand.said_already() {
            self.hear(said);
        }
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Assigned(worker, work) => {
                let at_one = |(_, other): &(WorkerId, Assignment)| other.job == work.job;
                assert!(!self.at_work.iter().any(at_one), "two at one job");
                // a submit that has not told its id yet is not known by number
                let number = self.jobs.iter().position(|(id, ..)| *id == work.job);
                if let (Some(number), 1) = (number, work.attempt) {
                    let last = self.first.insert(self.jobs[number].1, number);
                    assert!(last.is_none_or(|last| last < number), "{last:?} before {number}");
                }
                if self.dead.contains(&worker) {
                    self.over.push(work);
                } else {
                    self.at_work.push((worker, work));
                }
            }
            Said::Cancel(_, job, attempt) => {
                let at = self.at_work.iter().position(|(_, w)| w.job == job && w.attempt == attempt);
                if let Some(at) = at {
                    let (_, work) = self.at_work.swap_remove(at);
                    self.hand.ended(&work, Ending::Canceled);
                }
            }
            Said::Kill(worker, why) => panic!("{worker:?} is killed: {why}"),
            Said::Dismissed => panic!("nobody closes the desk"),
        }
    }

    /// Everything that is left is done.
    async fn play_out(&mut self) {
        self.hire();
        loop {
            self.listen();
            while let Some((_, work)) = self.at_work.pop() {
                self.bed.make(&self.hand, &work).await;
            }
            let views = self.desk.list(Listing::default()).await.unwrap();
            if views.iter().all(|view| view.state.is_terminal()) {
                return;
            }
            let id = &views.iter().find(|view| !view.state.is_terminal()).unwrap().id;
            let mut bell = self.desk.watch(id);
            let _ = tokio::time::timeout(Duration::from_millis(20), bell.changed()).await;
        }
    }

    async fn check(&self) -> BTreeMap<&'static str, usize> {
        self.desk.sweep().await.unwrap();
        let mut tally = BTreeMap::new();
        for (id, _, canceled) in &self.jobs {
            let view = self.desk.job(id, None).await.unwrap().expect("no job is lost");
            let lines: Vec<_> =
                self.desk.log(id, 0).await.unwrap().into_iter().map(|line| line.message).collect();
            let ends = lines
                .iter()
                .filter(|line| *line == "done" || line.starts_with("canceled") || line.starts_with("failed:"))
                .count();
            assert_eq!(ends, 1, "one end each: {lines:?}");
            let files =
                || std::fs::read_dir(self.bed.path(&format!("takes/{id}"))).into_iter().flatten().count();
            match view.ending.clone().expect("it has ended") {
                Ending::Made(made) => {
                    assert!(self.bed.path(&made.key).is_file(), "the take is there");
                    eventually("and no other", || async { files() == 1 }).await;
                }
                Ending::Canceled => assert!(canceled, "only who was asked to"),
                Ending::Failed(_) | Ending::Prepared(_) => {}
            }
            if view.state != State::Done {
                eventually("what came to nothing leaves nothing", || async { files() == 0 }).await;
            }
            *tally.entry(view.state.name()).or_default() += 1;
        }
        tally
    }
}

fn quick(config: &mut jobs::DeskConfig) {
    config.lease = Duration::from_millis(30); // on Postgres a restart waits for it
}

async fn schedules(kind: Kind, seeds: std::ops::Range<u64>) {
    let mut tally = BTreeMap::new();
    for seed in seeds {
        let mut play = Play::new(kind, seed).await;
        let played = async {
            for _ in 0..40 {
                play.step().await;
            }
            play.play_out().await;
            play.check().await
        };
        let states = tokio::time::timeout(LONG, played).await.unwrap_or_else(|_| panic!("seed {seed} hangs"));
        for (state, count) in states {
            *tally.entry(state).or_insert(0) += count;
        }
    }
    assert!(["done", "failed", "canceled"].iter().all(|state| tally.contains_key(state)), "{tally:?}");
    println!("{kind:?}: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_sqlite() {
    schedules(Kind::Sqlite, 0..25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_postgres() {
    schedules(Kind::Postgres, 0..15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: hundreds of schedules, for the slow target"]
async fn nothing_is_lost_in_hundreds_of_schedules() {
    schedules(Kind::Sqlite, 1000..1200).await;
    schedules(Kind::Postgres, 2000..2100).await;
}
