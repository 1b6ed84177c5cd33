//! Tests of the file journal: the contract, disk faults, damaged files, retention, inspection, doubt,
//! other versions.

mod contract;
mod doubt;
mod faults;
mod faulty_disk;
mod fixture;
mod inspection;
mod kill;
mod model;
mod opening;
mod retention;
mod temp_dir;
mod versions;
