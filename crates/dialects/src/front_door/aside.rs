//! Work on much data, aside: the threads that serve are few, and each of them has pictures to deliver in time.

/// Bytes that are worked on at once: a thread of their own would cost more.
const LITTLE: usize = 256 << 10;

/// Does `work`, which goes through about `bytes`.
pub async fn aside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= LITTLE {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // it is not canceled: a panic of it is one of ours
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread::current;

    use super::*;

    #[tokio::test]
    async fn only_much_work_leaves_its_thread() {
        let here = current().id();
        assert_eq!(aside(LITTLE, || current().id()).await, here);
        assert_ne!(aside(LITTLE + 1, || current().id()).await, here);
        let broken = tokio::spawn(aside(LITTLE + 1, || panic!("as it was"))).await.unwrap_err();
        assert_eq!(*broken.into_panic().downcast::<&str>().unwrap(), "as it was");
    }
}
