//! The list of what a checkpoint must hold: names, shapes and, where it matters, dtypes. A checkpoint of something else is refused with the
//! first difference.

use std::collections::HashMap;

use safetensors::Dtype;

use super::checkpoint::{Checkpoint, nearest};
use super::error::WrongCheckpoint;

#[derive(Clone, Debug, PartialEq)]
struct Item {
    key: String,
    shape: Vec<usize>,
    dtype: Option<Dtype>,
}

/// In the order of the net, each key once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    items: Vec<Item>,
    places: HashMap<String, usize>,
}

impl Inventory {
    pub fn of_shapes(items: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        Self::of_items(items.into_iter().map(|(key, shape)| Item { key, shape, dtype: None }))
    }

    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Self {
        let item = |(key, entry): (&String, &super::Entry)| Item {
            key: key.clone(),
            shape: entry.shape.clone(),
            dtype: Some(entry.dtype),
        };
        Self::of_items(checkpoint.entries().iter().map(item))
    }

    /// `{"entries": [[name, shape, dtype], …]}`, as the inventories of the golden kit are written.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(serde::Deserialize)]
        struct File {
            entries: Vec<(String, Vec<usize>, Dtype)>,
        }
        let file: File = serde_json::from_str(text)?;
        Ok(Self::of_items(file.entries.into_iter().map(|(key, shape, dtype)| Item {
            key,
            shape,
            dtype: Some(dtype),
        })))
    }

    fn of_items(items: impl Iterator<Item = Item>) -> Self {
        let mut inventory = Self::default();
        for item in items {
            if !inventory.places.contains_key(&item.key) {
                inventory.places.insert(item.key.clone(), inventory.items.len());
                inventory.items.push(item);
            }
        }
        inventory
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Keys and shapes in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.items.iter().map(|item| (item.key.as_str(), item.shape.as_slice()))
    }

    /// Whether `found` holds exactly this: all of it, in these shapes, and nothing else except keys that `ignored` covers (a whole key, a
    /// beginning that ends with a dot, or an end that begins with one). `what` and `wanted` name the two in the error.
    pub fn check(
        &self,
        found: &Inventory,
        ignored: &[&str],
        (what, wanted): (&str, &str),
    ) -> Result<(), WrongCheckpoint> {
        let wrong = |key: &str, why: String| {
            Err(WrongCheckpoint {
                what: what.to_owned(),
                wanted: wanted.to_owned(),
                key: key.to_owned(),
                why,
            })
        };
        for Item { key, shape, dtype } in &self.items {
            let Some(&place) = found.places.get(key) else {
                let near = nearest(key, found.items.iter().map(|item| item.key.as_str()));
                let near = near.map(|near| format!("; there is `{near}`")).unwrap_or_default();
                return wrong(key, format!("is missing (expected {shape:?}){near}"));
            };
            let other = &found.items[place];
            if other.shape != *shape {
                return wrong(key, format!("is {:?}, expected {shape:?}", other.shape));
            }
            if let (Some(found), Some(expected)) = (other.dtype, *dtype)
                && found != expected
            {
                return wrong(key, format!("is stored as {found:?}, expected {expected:?}"));
            }
        }
        let covers = |i: &str, key: &str| {
            key == i || (i.ends_with('.') && key.starts_with(i)) || (i.starts_with('.') && key.ends_with(i))
        };
        let covered = |key: &str| ignored.iter().any(|&i| covers(i, key));
        match found.items.iter().find(|item| !self.places.contains_key(&item.key) && !covered(&item.key)) {
            Some(Item { key, shape, .. }) => wrong(key, format!("{shape:?} is in it, but not in {wanted}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(items: &[(&str, &[usize])]) -> Inventory {
        Inventory::of_shapes(items.iter().map(|(key, shape)| (key.to_string(), shape.to_vec())))
    }

    #[test]
    fn the_first_difference_in_the_order_of_the_net() {
        let net = of(&[("b.w", &[4, 3]), ("a.w", &[2, 2]), ("c.w", &[1])]);
        let check = |found: &[(&str, &[usize])]| {
            net.check(&of(found), &["old.", "spare", ".count"], ("file", "the net"))
        };
        assert_eq!(check(&[("a.w", &[2, 2]), ("b.w", &[4, 3]), ("c.w", &[1])]), Ok(()));
        assert_eq!(
            check(&[
                ("a.w", &[2, 2]),
                ("b.w", &[4, 3]),
                ("c.w", &[1]),
                ("old.x", &[9]),
                ("n.count", &[]),
                ("spare", &[9])
            ]),
            Ok(())
        );
        let said = |found: &[(&str, &[usize])]| check(found).unwrap_err().to_string();
        assert_eq!(
            said(&[("a.w", &[9]), ("b.w", &[3, 4]), ("c.w", &[1])]),
            "file is not the net: `b.w` is [3, 4], expected [4, 3]"
        );
        let missing = said(&[("a.w", &[2, 2]), ("b.weight", &[4, 3]), ("c.w", &[1])]);
        assert!(missing.contains("`b.w` is missing (expected [4, 3]); there is `b.weight`"), "{missing}");
        let extra = said(&[("a.w", &[2, 2]), ("b.w", &[4, 3]), ("c.w", &[1]), ("spare2", &[7])]);
        assert!(extra.contains("`spare2` [7] is in it"), "{extra}");
    }

    #[test]
    fn a_list_with_dtypes() {
        let net =
            Inventory::from_json(r#"{"file": "x", "entries": [["w", [2, 3], "F32"], ["n", [], "I64"]]}"#)
                .unwrap();
        assert_eq!(net.len(), 2);
        let same = Inventory::from_json(r#"{"entries": [["w", [2, 3], "F16"], ["n", [], "I64"]]}"#).unwrap();
        let wrong = net.check(&same, &[], ("file", "the net")).unwrap_err();
        assert!(wrong.to_string().contains("`w` is stored as F16, expected F32"), "{wrong}");
        assert_eq!(net.check(&of(&[("w", &[2, 3]), ("n", &[])]), &[], ("file", "the net")), Ok(()));
    }
}
