//! The states of a job and the only transitions there are. Terminal is terminal.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Queued,
    Running,
    Done,
    Failed,
    Canceled,
}

impl State {
    pub fn is_terminal(self) -> bool {
        match self {
            State::Queued | State::Running => false,
            State::Done | State::Failed | State::Canceled => true,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Canceled => "canceled",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [State::Queued, State::Running, State::Done, State::Failed, State::Canceled]
            .into_iter()
            .find(|state| state.name() == name)
    }

    /// Whether a job in this state may go on to `next`. A running one goes back to the queue when its attempt was lost.
    pub fn may_become(self, next: State) -> bool {
        match self {
            State::Queued => matches!(next, State::Running | State::Canceled),
            State::Running => matches!(next, State::Queued | State::Done | State::Failed | State::Canceled),
            State::Done | State::Failed | State::Canceled => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State::{self, *};

    #[test]
    fn only_these_transitions_exist() {
        let all = [Queued, Running, Done, Failed, Canceled];
        let allowed = [
            (Queued, Running),
            (Queued, Canceled),
            (Running, Queued),
            (Running, Done),
            (Running, Failed),
            (Running, Canceled),
        ];
        for from in all {
            for to in all {
                assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from:?} -> {to:?}");
            }
        }
        assert!(all.into_iter().all(|state| State::named(state.name()) == Some(state)));
        assert!(all.into_iter().filter(|s: &State| s.is_terminal()).eq([Done, Failed, Canceled]));
    }
}
