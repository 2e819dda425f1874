//! Takes in orders at the one connection that writes: what came while the last ones were written goes into one transaction, so
//! that many submits share one sync of the log. Each is answered when its row is committed, not before.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbErr;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Record;
use super::enter::{self, Met, Ticket, Unentered};

/// Orders in one transaction at most: others wait for it.
const MOST: usize = 64;
/// Orders that did not come alone wait for more until none comes for so long: a commit takes about as long, and more share it.
const LULL: Duration = Duration::from_millis(1);
/// But no longer than this.
const GATHERING: Duration = Duration::from_millis(4);

/// Dropped, it takes in what came before, and goes.
pub struct Clerk {
    orders: mpsc::Sender<Order>,
}

struct Order {
    ticket: Arc<Ticket>,
    answer: oneshot::Sender<Result<Met, DbErr>>,
}

impl Clerk {
    pub fn new(record: Record) -> Self {
        let (orders, taken) = mpsc::channel(MOST);
        tokio::spawn(serve(record, taken));
        Self { orders }
    }

    pub async fn enter(&self, ticket: Arc<Ticket>) -> Result<Met, DbErr> {
        let (answer, answered) = oneshot::channel();
        let gone = || DbErr::Custom("nobody writes to the record any more".to_owned());
        self.orders.send(Order { ticket, answer }).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn serve(record: Record, mut orders: mpsc::Receiver<Order>) {
    let (mut batch, mut last) = (Vec::with_capacity(MOST), 0);
    while orders.recv_many(&mut batch, MOST).await > 0 {
        // the first of a crowd that was just answered is as good as the crowd
        if batch.len().max(last) > 1 {
            gather(&mut batch, &mut orders).await;
        }
        last = batch.len();
        let tickets: Vec<&Ticket> = batch.iter().map(|order| order.ticket.as_ref()).collect();
        let met = match tickets.len() {
            1 => None, // it would only be tried twice
            _ => Some(enter::enter_together(&record, &tickets).await),
        };
        let batch = batch.drain(..);
        match met {
            Some(Ok(met)) => batch.zip(met).for_each(|(order, met)| order.answered(Ok(met))),
            Some(Err(Unentered::Collided(_))) => {
                for order in batch {
                    let met = enter::enter(&record, &order.ticket).await;
                    order.answered(met);
                }
            }
            // a record that does not answer is not asked by each of them in turn
            Some(Err(Unentered::Failed(error))) => {
                batch.for_each(|order| order.answered(Err(DbErr::Custom(error.to_string()))));
            }
            None => {
                for order in batch {
                    let met = enter::enter(&record, &order.ticket).await;
                    order.answered(met);
                }
            }
        }
    }
}

async fn gather(batch: &mut Vec<Order>, orders: &mut mpsc::Receiver<Order>) {
    let end = Instant::now() + GATHERING;
    let mut before = 0;
    while batch.len() > before && batch.len() < MOST && Instant::now() < end {
        before = batch.len();
        tokio::time::sleep(LULL).await;
        while batch.len() < MOST
            && let Ok(order) = orders.try_recv()
        {
            batch.push(order);
        }
    }
}

impl Order {
    fn answered(self, met: Result<Met, DbErr>) {
        // whoever asked may have gone; the job stays
        let _ = self.answer.send(met);
    }
}
