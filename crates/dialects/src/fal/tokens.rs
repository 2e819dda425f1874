//! Tokens: the right of whoever asked for one with a key to connect, or to upload, without it, for a while. They live in memory:
//! a restarted server gives new ones.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::front_door::keys::Owner;

/// The oldest leave first.
const MOST: usize = 10_000;

/// What a token opens. None opens what makes tokens: a borrowed key would last for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opens {
    /// Apps of these names, without their owner; `None`: all of them.
    Apps(Option<Vec<String>>),
    Uploads,
}

/// What somebody with a token wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// `infinitalk` of `fal-ai/infinitalk/single-text`.
    App(&'a str),
    Upload,
}

impl Opens {
    fn to(&self, asked: Asked<'_>) -> bool {
        match (self, asked) {
            (Opens::Apps(None), Asked::App(_)) | (Opens::Uploads, Asked::Upload) => true,
            (Opens::Apps(Some(names)), Asked::App(name)) => names.iter().any(|known| known == name),
            (Opens::Apps(_), Asked::Upload) | (Opens::Uploads, Asked::App(_)) => false,
        }
    }
}

struct Issued {
    owner: String,
    opens: Opens,
    until_ms: i64,
}

#[derive(Default)]
pub struct Tokens(Mutex<HashMap<String, Issued>>);

impl Tokens {
    pub fn issue(&self, Owner(owner): &Owner, opens: Opens, (now_ms, life_ms): (i64, i64)) -> String {
        let token = format!("talkie-{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let mut issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.len() >= MOST {
            issued.retain(|_, token| token.until_ms > now_ms);
        }
        while issued.len() >= MOST {
            let oldest = issued.iter().min_by_key(|(_, token)| token.until_ms).map(|(name, _)| name.clone());
            oldest.and_then(|name| issued.remove(&name));
        }
        let until_ms = now_ms.saturating_add(life_ms);
        issued.insert(token.clone(), Issued { owner: owner.clone(), opens, until_ms });
        token
    }

    pub fn owner(&self, token: &str, asked: Asked<'_>, now_ms: i64) -> Option<Owner> {
        let issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = issued.get(token).filter(|token| token.opens.to(asked) && token.until_ms > now_ms);
        found.map(|token| Owner(token.owner.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_one_thing_for_a_while() {
        let tokens = Tokens::default();
        let ann = Owner("ann".into());
        let owner = |token: &str, asked, now_ms| tokens.owner(token, asked, now_ms).map(|owner| owner.0);
        let token = tokens.issue(&ann, Opens::Apps(None), (1000, 500));
        assert_eq!(owner(&token, Asked::App("puppet"), 1499), Some("ann".into()));
        assert_eq!(owner(&token, Asked::App("puppet"), 1500), None);
        assert_eq!(owner(&token, Asked::Upload, 1000), None);
        assert_eq!(owner("talkie-", Asked::App("puppet"), 1000), None);
        let one = tokens.issue(&ann, Opens::Apps(Some(vec!["puppet".into()])), (1000, 500));
        assert_eq!(owner(&one, Asked::App("puppet"), 1000), Some("ann".into()));
        assert_eq!(owner(&one, Asked::App("svd"), 1000), None);
        let uploads = tokens.issue(&ann, Opens::Uploads, (1000, 500));
        assert_eq!(owner(&uploads, Asked::Upload, 1000), Some("ann".into()));
        assert_eq!(owner(&uploads, Asked::App("puppet"), 1000), None);
        for _ in 0..MOST {
            tokens.issue(&Owner("bob".into()), Opens::Uploads, (1001, 500));
        }
        assert_eq!(owner(&token, Asked::App("puppet"), 1002), None, "the oldest left");
    }
}
