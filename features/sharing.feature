Feature: Sharing
  As somebody with files on one machine and a need for them on another,
  I open one folder on every machine and find everybody's files in it.

  Background:
    Given a tracking server

  Scenario: A downloader finds all the files that can be downloaded
    Given these peers and files
      | peer | file              | size |
      | anna | notes.txt         | 1K   |
      | anna | photos/2024/a.jpg | 300K |
      | ben  | music/song.ogg    | 1M   |
      | cleo |                   |      |
    Then "cleo" sees "notes.txt", "photos/2024/a.jpg" and "music/song.ogg"
    And "ben" sees "notes.txt", "photos/2024/a.jpg" and "music/song.ogg"
    And the tracking server lists "notes.txt", "photos/2024/a.jpg" and "music/song.ogg"

  Scenario: A downloader finds a specified file
    Given these peers and files
      | peer | file           | size |
      | anna | films/long.mkv | 5M   |
      | anna | notes.txt      | 1K   |
      | cleo |                |      |
    When "cleo" looks for "films/long.mkv"
    Then it is there with 5M
    And the tracking server finds "films/long.mkv" by the word "long"
    And "cleo" does not see "films/short.mkv"

  Scenario: Looking around downloads nothing
    Given these peers and files
      | peer | file           | size |
      | anna | films/long.mkv | 5M   |
      | anna | notes.txt      | 1K   |
      | cleo |                |      |
    When "cleo" lists every directory with sizes and times
    Then "cleo" has downloaded nothing

  Scenario: A downloader gets an uncorrupted version of the file
    Given these peers and files
      | peer | file           | size |
      | anna | films/long.mkv | 5M   |
      | anna | empty.txt      | 0    |
      | cleo |                |      |
    When "cleo" reads "films/long.mkv"
    Then it is what "anna" put there
    When "cleo" reads "empty.txt"
    Then it is what "anna" put there

  Scenario: A corrupted version is refused, and another uploader is asked
    Given these peers and files
      | peer | file           | size |
      | cleo |                |      |
    And "mallory" shares "films/long.mkv" of 2M over a line that corrupts
    When "cleo" tries to read "films/long.mkv"
    Then it fails with "Input/output error" within 20 seconds
    And "cleo" keeps no "films/long.mkv"
    And "cleo" has refused corrupted pieces
    When "anna" joins and shares the same "films/long.mkv"
    Then "cleo" can read "films/long.mkv" within 20 seconds
    And "cleo" keeps "films/long.mkv" and shares it on

  Scenario: A part of a big file moves only that part
    Given these peers and files
      | peer | file     | size |
      | anna | disk.img | 32M  |
      | cleo |          |      |
    When "cleo" reads 4K at the end of "disk.img"
    Then it is what "anna" put there
    And "cleo" has downloaded at most 512K

  Scenario: What was downloaded is kept and shared on, also when its first uploader is gone
    Given these peers and files
      | peer | file           | size |
      | anna | films/long.mkv | 5M   |
      | cleo |                |      |
    When "cleo" reads "films/long.mkv"
    Then "cleo" keeps "films/long.mkv" and shares it on
    When "anna" dies
    And "ben" joins
    Then "ben" can read "films/long.mkv" within 20 seconds

  Scenario: A second read downloads nothing
    Given these peers and files
      | peer | file           | size |
      | anna | films/long.mkv | 5M   |
      | cleo |                |      |
    When "cleo" reads "films/long.mkv"
    And "cleo" reads "films/long.mkv"
    Then it is what "anna" put there
    And "cleo" has downloaded at most 5M

  Scenario: One's own files are read like the originals, and nobody writes through the folder
    Given these peers and files
      | peer | file      | size |
      | anna | notes.txt | 1K   |
    When "anna" reads "notes.txt"
    Then it is what "anna" put there
    And "anna" cannot write "notes.txt" through the folder
    And "anna" has downloaded nothing

  Scenario: The tracking server has the uploader's most recent snapshot
    Given these peers and files
      | peer | file      | size |
      | anna | notes.txt | 1K   |
      | anna | old.txt   | 1K   |
      | cleo |           |      |
    When "anna" adds "new.txt" of 2K
    And "anna" changes "notes.txt" to 3K
    And "anna" removes "old.txt"
    Then within 10 seconds "cleo" sees "new.txt" with 2K
    And within 10 seconds "cleo" sees "notes.txt" with 3K
    And within 10 seconds "cleo" no longer sees "old.txt"
    And "cleo" can read "notes.txt" within 10 seconds
    And the tracking server lists "new.txt" and "notes.txt"

  Scenario: A peer that speaks only the first protocol is a full member
    Given these peers and files
      | peer | file      | size |
      | anna | notes.txt | 300K |
      | cleo |           |      |
    And "olaf", who speaks only the first protocol, shares "saga.txt" of 100K
    Then "cleo" can read "saga.txt" within 15 seconds
    And "olaf" finds "notes.txt" and "saga.txt"
    And "olaf" downloads "notes.txt" as "anna" put it there

  Scenario: A corrupted file of a peer of the first protocol is refused
    Given these peers and files
      | peer | file | size |
      | cleo |      |      |
    And "olaf", who speaks only the first protocol, shares "saga.txt" of 100K
    But what "olaf" sends for "saga.txt" is something else
    When "cleo" sees "saga.txt"
    And "cleo" tries to read "saga.txt"
    Then it fails with "Input/output error" within 20 seconds
    And "cleo" keeps no "saga.txt"
