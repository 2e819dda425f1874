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

    /// Whether a job in this state may go on to `next`.
    pub fn may_become(self, next: State) -> bool {
        match self {
            State::Queued => matches!(next, State::Running | State::Canceled),
            State::Running => matches!(next, State::Done | State::Failed | State::Canceled),
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
        let allowed =
            [(Queued, Running), (Queued, Canceled), (Running, Done), (Running, Failed), (Running, Canceled)];
        for from in all {
            for to in all {
                assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from:?} -> {to:?}");
            }
        }
        assert!(all.into_iter().filter(|s: &State| s.is_terminal()).eq([Done, Failed, Canceled]));
    }
}
