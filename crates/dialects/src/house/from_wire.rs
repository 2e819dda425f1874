//! From our own words to what the desk is asked. The only place that knows their defaults.

use jobs::{AvatarName, Listing, State};

use crate::front_door::keys::Owner;
use crate::front_door::model::{Field, Fitting, Kind, Model, Need};
use crate::front_door::refused::Refused;
use crate::musetalk;

/// Letters of an avatar's name, as its dialect has them.
const NAME_LETTERS: usize = 64;

pub static LISTING: Model = Model {
    name: "JobsQuery",
    fields: &[
        Field { name: "dialect", kind: Kind::Text, need: Need::Null, help: "infinitetalk, musetalk, …" },
        Field {
            name: "state",
            kind: Kind::Text,
            need: Need::Null,
            help: "queued, running, done, failed or canceled",
        },
        Field {
            name: "limit",
            kind: Kind::Int { ge: Some(1), le: Some(1000) },
            need: Need::Int(50),
            help: "Newest first",
        },
    ],
};

pub static SINCE: Model = Model {
    name: "LogQuery",
    fields: &[Field {
        name: "since",
        kind: Kind::Int { ge: Some(0), le: None },
        need: Need::Int(0),
        help: "Number of the last line that is known",
    }],
};

pub static AVATARS: Model = Model {
    name: "AvatarsQuery",
    fields: &[Field { name: "dialect", kind: Kind::Text, need: Need::Null, help: "" }],
};

pub static ADD: Model = Model {
    name: "Body_add_avatar",
    fields: &[
        Field {
            name: "dialect",
            kind: Kind::Text,
            need: Need::Text(musetalk::DIALECT),
            help: "Only musetalk: the others make their avatars of what their requests name",
        },
        Field {
            name: "name",
            kind: Kind::Text,
            need: Need::Required,
            help: "1 to 64 of a-z, A-Z, 0-9, _ and -",
        },
        Field { name: "source", kind: Kind::File, need: Need::Required, help: "A picture or a clip" },
    ],
};

pub fn listing(query: &Fitting, Owner(owner): Owner) -> Result<Listing, Refused> {
    let state = match query.optional("state") {
        None => None,
        Some("queued") => Some(State::Queued),
        Some("running") => Some(State::Running),
        Some("done") => Some(State::Done),
        Some("failed") => Some(State::Failed),
        Some("canceled") => Some(State::Canceled),
        Some(other) => return Err(Refused::bad(format!("there is no state `{other}`"))),
    };
    let limit = query.int("limit").and_then(|limit| u32::try_from(limit).ok()).unwrap_or(50);
    Ok(Listing { dialect: query.optional("dialect").map(str::to_owned), owner: Some(owner), state, limit })
}

/// Checked before the source is kept.
pub fn avatar(Owner(owner): Owner, form: &Fitting) -> Result<AvatarName, Refused> {
    let (dialect, name) = (form.text("dialect"), form.text("name"));
    if dialect != musetalk::DIALECT {
        let detail = format!("avatars of `{dialect}` are made by its own requests; this is for musetalk's");
        return Err(Refused::bad(detail));
    }
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !letters || !(1..=NAME_LETTERS).contains(&name.len()) {
        let detail =
            format!("`{name}` is no name of an avatar: 1 to {NAME_LETTERS} letters, numbers, _ and -");
        return Err(Refused::bad(detail));
    }
    Ok(AvatarName { dialect: dialect.to_owned(), owner, name: name.to_owned() })
}
