Feature: Peers go on, whatever happens to the tracking server
  As a downloader I keep running and reading even if the tracking server is down;
  as an uploader I make sure that it eventually knows all that I share.

  Scenario: Files are read while the tracking server is dead
    Given a tracking server
    And these peers and files
      | peer | file      | size |
      | anna | notes.txt | 1K   |
      | anna | disk.img  | 8M   |
      | cleo |           |      |
    When "cleo" sees "disk.img"
    And the tracking server dies
    Then "cleo" can read "disk.img" within 15 seconds
    And "anna" and "cleo" are still running
    And "cleo" sees "notes.txt" and "disk.img"

  Scenario: Files are read while the tracking server hangs
    Given a tracking server
    And these peers and files
      | peer | file     | size |
      | anna | disk.img | 8M   |
      | cleo |          |      |
    When "cleo" sees "disk.img"
    And the tracking server hangs
    Then "cleo" can read "disk.img" within 15 seconds
    And "cleo" can list its folder within 5 seconds

  Scenario: A tracking server that restarts learns everything again
    Given a tracking server
    And these peers and files
      | peer | file      | size |
      | anna | notes.txt | 1K   |
      | ben  | song.ogg  | 1M   |
      | cleo |           |      |
    When "cleo" sees "notes.txt" and "song.ogg"
    And the tracking server dies
    And "anna" adds "new.txt" of 2K
    And the tracking server comes back
    Then within 10 seconds the tracking server lists "notes.txt", "song.ogg" and "new.txt"
    And within 10 seconds "cleo" sees "new.txt" with 2K
    And "cleo" can read "song.ogg" within 10 seconds
    And "cleo" saw "notes.txt" all the time

  Scenario: A peer starts before the tracking server
    Given the place of a tracking server that is not there yet
    And these peers and files
      | peer | file      | size |
      | anna | notes.txt | 1K   |
    Then "anna" can read "notes.txt" within 10 seconds
    When the tracking server comes back
    And "cleo" joins
    Then "cleo" can read "notes.txt" within 20 seconds

  Scenario: The tracking server forgets an uploader that does not refresh it, and only that one
    Given a tracking server
    And these peers and files
      | peer | file      | size |
      | anna | notes.txt | 1K   |
      | ben  | song.ogg  | 1K   |
      | cleo |           |      |
    When "cleo" sees "notes.txt" and "song.ogg"
    And "anna" hangs
    Then within 20 seconds the tracking server no longer lists "notes.txt"
    And the tracking server lists "song.ogg"
    When "anna" wakes up
    Then within 15 seconds the tracking server lists "notes.txt" and "song.ogg"
