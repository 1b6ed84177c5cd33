//! Checks that the sandbox received the planned number of POSTs for each command: a second POST is a second message.

use std::collections::HashMap;

use super::plan;
use crate::sandbox::Listing;

/// An upper bound of the POSTs for `count` commands, which the sandbox must keep for the check.
pub(super) fn max_posts(count: usize) -> usize {
    count.saturating_mul(4)
}

/// Compares the POSTs with the plan of the first `count` commands.
pub(super) fn check(count: usize, received: &Listing) -> Result<(), String> {
    let mut posts = HashMap::<_, usize>::new();
    for index in received.requests.iter().filter_map(|record| plan::index_of(record.text.as_deref()?)) {
        *posts.entry(index).or_default() += 1;
    }
    let posted = |index| posts.get(&index).copied().unwrap_or_default();
    let wrong: Vec<_> = (0..count).filter(|index| posted(*index) != plan::planned(*index).posts).collect();
    if let Some(first) = wrong.first() {
        let (wrong, posted, planned) = (wrong.len(), posted(*first), plan::planned(*first).posts);
        return Err(format!(
            "the number of POSTs is wrong for {wrong} of {count} commands; demo-{first}: {posted} instead of {planned}"
        ));
    }
    let planned: usize = (0..count).map(|index| plan::planned(index).posts).sum();
    if u64::try_from(planned) != Ok(received.total) {
        return Err(format!("the sandbox received {} POSTs instead of {planned}", received.total));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::ReceivedRequest;

    const COUNT: usize = 50;

    /// The requests if each command is posted this often.
    fn received(posts: impl Fn(usize) -> usize) -> Listing {
        let indices = (0..COUNT).flat_map(|index| std::iter::repeat_n(index, posts(index)));
        let record = |index| ReceivedRequest {
            sequence: 0,
            accepted: true,
            status: Some(200),
            attempt: Some(1),
            text: Some(format!("Your order {index} is ready [[marked]]")),
            channel_type: None,
            device_address: None,
        };
        let requests: Vec<_> = indices.map(record).collect();
        Listing { total: requests.len() as u64, accepted: 0, count: requests.len(), requests }
    }

    /// The POSTs of one cycle: none for malformed and expired commands, three for those that fail twice.
    fn planned(index: usize) -> usize {
        match index {
            4 | 9 | 24 => 0,
            29 | 39 => 3,
            _ => 1,
        }
    }

    #[test]
    fn check_accepts_the_planned_posts() {
        assert_eq!(check(COUNT, &received(planned)), Ok(()));
        assert!(received(planned).count < max_posts(COUNT));
    }

    #[test]
    fn check_refuses_missing_and_additional_posts() {
        for wrong in 0..COUNT {
            let twice = received(|index| planned(index) + usize::from(index == wrong));
            assert!(check(COUNT, &twice).unwrap_err().contains(&format!("demo-{wrong}:")));
            let never = check(COUNT, &received(|index| if index == wrong { 0 } else { planned(index) }));
            assert_eq!(never.is_err(), planned(wrong) > 0, "{wrong}");
        }
        let unmatched = Listing { total: received(planned).total + 1, ..received(planned) };
        assert!(check(COUNT, &unmatched).is_err(), "a POST of no command");
    }
}
