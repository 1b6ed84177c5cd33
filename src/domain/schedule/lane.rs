//! The commands for one key, each in its place: in hand, on the way to a tier, or in one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{OrderCounters, ScheduleSettings, Ticket, turns::Turn};

/// A place in a lane: lower goes first. A command keeps its place until it is out of hand for good.
pub(super) type Place = u64;
/// Between new places, for copies of those that have one.
const SPACING: Place = 1 << 16;

/// Why a command goes to a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It must wait.
    Asked,
    /// One before it does.
    Behind,
    /// There is no room.
    Overflow,
}

/// In hand, and to be copied to a tier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) ticket: Ticket,
    id: u64,
    pub(super) tier: usize,
    pub(super) why: Why,
    /// It was the lane's first when it was sent: the others have to wait as long as it does.
    leads: bool,
}

/// In a tier, or on the way back from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Away {
    id: u64,
    tier: usize,
    due: Duration,
    leads: bool,
}

/// The first place whose command does not wait in hand.
struct Gap {
    place: Place,
    tier: usize,
    /// How long until it is due back.
    wait: Duration,
    leads: bool,
}

/// One lane. Every command is in exactly one of the four rooms; places tell the order across them.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// In hand, with nothing before them that is not.
    pub(super) queue: BTreeMap<Place, Ticket>,
    /// In hand, behind some that are not.
    pub(super) held: BTreeMap<Place, Ticket>,
    pub(super) leaving: BTreeMap<Place, Leaving>,
    pub(super) away: BTreeMap<Place, Away>,
    /// The ids of those away. Two copies of one command may be, so the place belongs to it.
    known: BTreeSet<(u64, Place)>,
    next_place: Place,
    /// Whose attempt is under way: the first of the queue.
    pub(super) busy: Option<Ticket>,
    /// Whose copy is being stored: one at a time, so that the tier has them in order.
    pub(super) parking: Option<Ticket>,
    /// No attempt before this.
    pub(super) rest_until: Duration,
    /// Since when the first of the queue could be attempted but for the rates.
    pub(super) eligible: Option<(Ticket, Duration)>,
    /// Its turn, when nothing but rates of its class and the free slots keep it from starting.
    pub(super) turn: Option<Turn>,
    /// It is in the list of lanes that have something to park.
    pub(super) listed: bool,
    /// When it is looked at again without being asked.
    pub(super) alarm: Option<Duration>,
    /// What the schedule's totals know of it: held and away.
    pub(super) counted: (usize, usize),
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.held.is_empty() && self.leaving.is_empty() && self.away.is_empty()
    }

    /// The place of a command that came: its own if its copy was away, else the last.
    pub(super) fn place_of(&mut self, id: u64) -> Place {
        if let Some(place) = self.being_parked(id) {
            // The copy is back before we heard that it was stored.
            self.leaving.remove(&place);
            return place;
        }
        let known = self.known.range((id, 0)..=(id, Place::MAX)).next().copied();
        if let Some((id, place)) = known {
            self.forget(id, place);
            return place;
        }
        self.next_place += SPACING;
        self.next_place
    }

    /// Whether one that is this command is away.
    pub(super) fn is_known(&self, id: u64) -> bool {
        self.known.range((id, 0)..=(id, Place::MAX)).next().is_some()
    }

    fn forget(&mut self, id: u64, place: Place) {
        self.known.remove(&(id, place));
        self.away.remove(&place);
    }

    /// The place behind one that waits in hand and is the same command: its session was lost, and the broker gave it out
    /// again. It must not fall behind those that came after it.
    pub(super) fn place_beside(&self, is_it: impl Fn(&Ticket) -> bool) -> Option<Place> {
        let waiting = self.queue.iter().chain(&self.held);
        let twin = waiting.filter(|(_, ticket)| is_it(ticket)).map(|(place, _)| *place + 1).next_back()?;
        (!self.has(twin)).then_some(twin)
    }

    /// All that are in hand.
    pub(super) fn in_hand(&self) -> impl Iterator<Item = Ticket> {
        let leaving = self.leaving.values().map(|leaving| leaving.ticket);
        self.queue.values().chain(self.held.values()).copied().chain(leaving)
    }

    fn being_parked(&self, id: u64) -> Option<Place> {
        let parking = self.parking?;
        // Nearly always the first: it was when its turn came.
        self.leaving.iter().find(|(_, leaving)| leaving.ticket == parking && leaving.id == id).map(|(place, _)| *place)
    }

    /// Gives one that came a room.
    pub(super) fn seat(
        &mut self,
        place: Place,
        (ticket, id): (Ticket, u64),
        may_hold: bool,
        settings: &ScheduleSettings,
        now: Duration,
    ) {
        let in_hand = self.queue.len() + self.held.len();
        let is_full = in_hand >= settings.lane_capacity;
        let behind = if is_full { Why::Overflow } else { Why::Behind };
        let (tier, why) = match self.first_gap(settings, now) {
            Some(gap) if gap.place < place => {
                // Where the queue may not run dry, half of the room is kept for those that come back.
                let may_hold = may_hold && !is_full && self.held.len() < settings.lane_capacity / 2;
                if !gap.leads && may_hold && gap.wait <= settings.length(0) {
                    self.held.insert(place, ticket);
                    return;
                }
                (if gap.leads { gap.tier } else { settings.within(gap.wait) }, behind)
            }
            _ if is_full => (0, Why::Overflow),
            _ => {
                self.queue.insert(place, ticket);
                return;
            }
        };
        self.leaving.insert(place, Leaving { ticket, id, tier, why, leads: false });
    }

    fn first_gap(&self, settings: &ScheduleSettings, now: Duration) -> Option<Gap> {
        let leaving = self.leaving.first_key_value().map(|(place, leaving)| {
            let wait = settings.length(leaving.tier);
            Gap { place: *place, tier: leaving.tier, wait, leads: leaving.leads }
        });
        let away = self.away.first_key_value().map(|(place, away)| {
            let wait = away.due.saturating_sub(now);
            Gap { place: *place, tier: away.tier, wait, leads: away.leads }
        });
        leaving.into_iter().chain(away).min_by_key(|gap| gap.place)
    }

    /// Sends one to a tier, and all that wait in hand behind it; `id_of` tells their ids.
    pub(super) fn send_away(&mut self, place: Place, tier: usize, id_of: impl Fn(Ticket) -> u64) {
        let leads = self.queue.keys().next() == Some(&place);
        let followers = self.queue.split_off(&place).into_iter().chain(self.held.split_off(&place));
        for (at, ticket) in followers {
            if self.busy == Some(ticket) {
                self.busy = None;
            }
            let why = if at == place { Why::Asked } else { Why::Behind };
            let leads = leads && at == place;
            self.leaving.insert(at, Leaving { ticket, id: id_of(ticket), tier, why, leads });
        }
    }

    /// One that leaves already asks for it itself: it stays with that, and a grant that it did not hear is given again.
    pub(super) fn insist(&mut self, place: Place, ticket: Ticket) {
        if let Some(leaving) = self.leaving.get_mut(&place).filter(|leaving| leaving.ticket == ticket) {
            leaving.why = Why::Asked;
            self.parking.take_if(|parking| *parking == ticket);
        }
    }

    /// Out of hand. Another one may have taken its place meanwhile, which is none of this one's business.
    pub(super) fn remove(&mut self, place: Place, ticket: Ticket) -> Option<Leaving> {
        for room in [&mut self.queue, &mut self.held] {
            if room.get(&place) == Some(&ticket) {
                room.remove(&place);
            }
        }
        self.busy.take_if(|busy| *busy == ticket);
        self.parking.take_if(|parking| *parking == ticket);
        let is_leaving = self.leaving.get(&place).is_some_and(|leaving| leaving.ticket == ticket);
        if is_leaving { self.leaving.remove(&place) } else { None }
    }

    /// Whether anything is in this place.
    pub(super) fn has(&self, place: Place) -> bool {
        let waits = self.queue.contains_key(&place) || self.held.contains_key(&place);
        waits || self.leaving.contains_key(&place) || self.away.contains_key(&place)
    }

    /// Its copy is in a tier.
    pub(super) fn is_away(&mut self, place: Place, leaving: Leaving, due: Duration) {
        let Leaving { id, tier, leads, .. } = leaving;
        self.known.insert((id, place));
        self.away.insert(place, Away { id, tier, due, leads });
    }

    /// It is in the broker's hand, which will give it out again.
    pub(super) fn is_released(&mut self, place: Place, id: u64, now: Duration) {
        self.known.insert((id, place));
        self.away.insert(place, Away { id, tier: 0, due: now, leads: false });
    }

    /// Puts in order what an event may have changed: overdue ones are forgotten, held ones move up, and one that was to
    /// leave only for want of room, or behind one that is gone, stays if it can.
    pub(super) fn close_up(
        &mut self,
        settings: &ScheduleSettings,
        overdue: impl Fn(Duration) -> bool,
        counters: &mut OrderCounters,
    ) {
        loop {
            let leaving = self.leaving.first_key_value().map(|(place, leaving)| (*place, *leaving));
            let away = self.away.first_key_value().map(|(place, away)| (*place, *away));
            match (leaving, away) {
                (leaving, Some((place, away)))
                    if leaving.is_none_or(|(first, _)| place < first) && overdue(away.due) =>
                {
                    self.forget(away.id, place);
                    counters.forgotten += 1;
                }
                (Some((place, leaving)), away)
                    if away.is_none_or(|(first, _)| place < first)
                        && leaving.why != Why::Asked
                        && self.parking != Some(leaving.ticket)
                        && self.queue.len() + self.held.len() < settings.lane_capacity =>
                {
                    self.move_up(place);
                    self.leaving.remove(&place);
                    self.queue.insert(place, leaving.ticket);
                }
                (leaving, away) => {
                    let gaps = leaving.map(|(place, _)| place).into_iter().chain(away.map(|(place, _)| place));
                    return self.move_up(gaps.min().unwrap_or(Place::MAX));
                }
            }
        }
    }

    fn move_up(&mut self, gap: Place) {
        if self.held.keys().next().is_some_and(|first| *first < gap) {
            let rest = self.held.split_off(&gap);
            self.queue.append(&mut std::mem::replace(&mut self.held, rest));
        }
    }

    /// When the first that is missing was due, if nothing on its way to a tier goes before it.
    pub(super) fn missing_since(&self) -> Option<Duration> {
        let (place, away) = self.away.first_key_value()?;
        self.leaving.keys().next().is_none_or(|first| place < first).then_some(away.due)
    }

    /// The one that could be attempted but for the rates.
    pub(super) fn eligible(&mut self, now: Duration) -> Option<Ticket> {
        let head = self.queue.values().next().copied().filter(|_| self.busy.is_none());
        if self.eligible.map(|(ticket, _)| ticket) != head {
            self.eligible = head.map(|ticket| (ticket, now));
        }
        head
    }

    /// The next to be copied to a tier.
    pub(super) fn next_to_park(&self) -> Option<Leaving> {
        self.leaving.values().next().copied().filter(|_| self.parking.is_none())
    }
}
