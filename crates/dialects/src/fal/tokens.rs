//! Tokens: the right of whoever asked for one with a key to connect, or to upload, without it, for a while. They live in memory:
//! a restarted server gives new ones.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::front_door::keys::Owner;

/// The oldest leave first.
const MOST: usize = 10_000;

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    Apps,
    Uploads,
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

    pub fn owner(&self, token: &str, opens: Opens, now_ms: i64) -> Option<Owner> {
        let issued = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = issued.get(token).filter(|token| token.opens == opens && token.until_ms > now_ms);
        found.map(|token| Owner(token.owner.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_one_thing_for_a_while() {
        let tokens = Tokens::default();
        let token = tokens.issue(&Owner("ann".into()), Opens::Apps, (1000, 500));
        assert_eq!(tokens.owner(&token, Opens::Apps, 1499).map(|owner| owner.0), Some("ann".into()));
        assert!(tokens.owner(&token, Opens::Apps, 1500).is_none());
        assert!(tokens.owner(&token, Opens::Uploads, 1000).is_none());
        assert!(tokens.owner("talkie-", Opens::Apps, 1000).is_none());
        for _ in 0..MOST {
            tokens.issue(&Owner("bob".into()), Opens::Apps, (1001, 500));
        }
        assert!(tokens.owner(&token, Opens::Apps, 1002).is_none(), "the oldest left");
    }
}
