//! Whether the sandbox was posted each command exactly as often as planned: a second POST is a customer's second message.

use std::collections::HashMap;

use super::plan;
use crate::sandbox::Listing;

/// More posts than any run makes that is as planned; the sandbox remembers so many.
pub(super) fn at_most(count: usize) -> usize {
    count.saturating_mul(4)
}

/// Compares what arrived with the plan for the first `count` commands; what is wrong, if anything.
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
            "{wrong} of {count} commands were not posted as often as planned; demo-{first}: {posted} instead of {planned}"
        ));
    }
    let planned: usize = (0..count).map(|index| plan::planned(index).posts).sum();
    if u64::try_from(planned) != Ok(received.total) {
        return Err(format!("the sandbox was posted {} requests instead of {planned}", received.total));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Record;

    const COUNT: usize = 50;

    /// What arrives when each command is posted as often as given.
    fn received(posts: impl Fn(usize) -> usize) -> Listing {
        let indices = (0..COUNT).flat_map(|index| std::iter::repeat_n(index, posts(index)));
        let record = |index| Record {
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

    /// One turn of the plan: the two unreadable ones, the expired one, the flaky ones, all others.
    fn planned(index: usize) -> usize {
        match index {
            4 | 9 | 24 => 0,
            29 | 39 => 3,
            _ => 1,
        }
    }

    #[test]
    fn each_as_often_as_planned_is_right() {
        assert_eq!(check(COUNT, &received(planned)), Ok(()));
        assert!(received(planned).count < at_most(COUNT));
    }

    #[test]
    fn one_too_many_or_too_few_is_told() {
        for wrong in 0..COUNT {
            let twice = received(|index| planned(index) + usize::from(index == wrong));
            assert!(check(COUNT, &twice).unwrap_err().contains(&format!("demo-{wrong}:")));
            let never = check(COUNT, &received(|index| if index == wrong { 0 } else { planned(index) }));
            assert_eq!(never.is_err(), planned(wrong) > 0, "{wrong}");
        }
        let stranger = Listing { total: received(planned).total + 1, ..received(planned) };
        assert!(check(COUNT, &stranger).is_err(), "nobody's post");
    }
}
