//! Who has written to the business: names, business-scoped user ids, and the 24-hour window.
//!
//! Not in here: what they say (`customers`).

use std::collections::BTreeMap;

use super::CustomerError;
use crate::whatsapp::envelope::Person;

/// Somebody may be answered freely for so long after they last wrote.
const WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;
/// People the model remembers: some 300 bytes each, enough for the largest load test.
const PEOPLE_MAX: usize = 1_000_000;
/// The most digits of an international phone number (E.164).
const PHONE_DIGITS_MAX: usize = 15;

/// Everybody who ever wrote.
#[derive(Clone, Debug, Default)]
pub(super) struct People {
    by_phone: BTreeMap<String, Known>,
    phone_by_user_id: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct Known {
    name: Option<String>,
    user_id: String,
    /// Per number's index: when they last wrote to it.
    wrote_ms: BTreeMap<usize, u64>,
}

impl People {
    /// Somebody wrote: remembers name and time, gives them as webhooks show them.
    pub(super) fn wrote(
        &mut self,
        phone: &str,
        name: Option<String>,
        number: usize,
        now_ms: u64,
    ) -> Result<Person, CustomerError> {
        if !self.by_phone.contains_key(phone) && self.by_phone.len() >= PEOPLE_MAX {
            return Err(CustomerError::Full { what: "people" });
        }
        let known = self.by_phone.entry(phone.to_owned()).or_insert_with(|| Known {
            name: None,
            user_id: user_id_of(phone),
            wrote_ms: BTreeMap::new(),
        });
        if name.is_some() {
            known.name = name;
        }
        known.wrote_ms.insert(number, now_ms);
        self.phone_by_user_id.insert(known.user_id.clone(), phone.to_owned());
        Ok(Person {
            phone: Some(phone.to_owned()),
            user_id: Some(known.user_id.clone()),
            name: known.name.clone(),
            ..Person::default()
        })
    }

    /// The phone number behind a business-scoped user id, of people who have written.
    pub(super) fn phone_of(&self, user_id: &str) -> Option<&str> {
        self.phone_by_user_id.get(user_id).map(String::as_str)
    }

    /// Whether `phone` wrote to this number within the last 24 hours.
    pub(super) fn window_is_open(&self, phone: &str, number: usize, now_ms: u64) -> bool {
        let wrote_ms = self.by_phone.get(phone).and_then(|known| known.wrote_ms.get(&number));
        wrote_ms.is_some_and(|wrote_ms| now_ms < wrote_ms + WINDOW_MS)
    }
}

/// A phone number's digits as Meta writes a `wa_id`; `None` if it is not one.
pub(super) fn digits(phone: &str) -> Option<String> {
    let kept: String = phone.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')')).collect();
    let digits = kept.strip_prefix('+').unwrap_or(&kept);
    let fits = (1..=PHONE_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| digits.to_owned())
}

/// The business-scoped user id of a phone number: a hash (FNV-1a, 64 bits), so that it is the same in every run and
/// with every seed, as a person's is.
pub fn user_id_of(phone: &str) -> String {
    let hash = phone.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    format!("US.{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phone_numbers_become_digits_or_nothing() {
        assert_eq!(digits("+1 (555) 000-0002").as_deref(), Some("15550000002"));
        for bad in ["", "+", "++1", "12a", "1234567890123456", "Ana"] {
            assert_eq!(digits(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_window_closes_after_a_day_and_belongs_to_one_number() {
        let mut people = People::default();
        people.wrote("1555", None, 0, 1_000).expect("room");
        assert!(people.window_is_open("1555", 0, 1_000 + WINDOW_MS - 1));
        assert!(!people.window_is_open("1555", 0, 1_000 + WINDOW_MS));
        assert!(!people.window_is_open("1555", 1, 1_000));
        assert!(!people.window_is_open("1556", 0, 1_000));
    }
}
