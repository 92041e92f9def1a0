Feature: Peers go on, whatever happens to other peers
  As a downloader or an uploader, I continue to run regardless of the state of the others,
  and I get a file as long as anybody who has it is there.

  Background:
    Given a tracking server

  Scenario: The uploader dies in the middle of a read, and another one has the file
    Given these peers and files
      | peer | file     | size |
      | anna | disk.img | 48M  |
      | ben  | disk.img | 48M  |
      | cleo |          |      |
    And the tracking server knows that "ben" has "disk.img"
    When "cleo" has read the first 1M of "disk.img"
    And "anna" dies
    Then "cleo" reads the rest as it should be within 20 seconds

  Scenario: The uploader hangs in the middle of a read, and another one has the file
    Given these peers and files
      | peer | file     | size |
      | anna | disk.img | 48M  |
      | ben  | disk.img | 48M  |
      | cleo |          |      |
    And the tracking server knows that "ben" has "disk.img"
    When "cleo" has read the first 1M of "disk.img"
    And "anna" hangs
    Then "cleo" reads the rest as it should be within 30 seconds

  Scenario Outline: The line to an uploader is bad, and the bytes are right all the same
    Given these peers and files
      | peer | file | size |
      | cleo |      |      |
    And "anna" shares "disk.img" of 4M over a line that <fault>
    And "ben" joins and shares the same "disk.img"
    Then "cleo" can read "disk.img" within 30 seconds

    Examples:
      | fault                   |
      | is slow to answer       |
      | breaks again and again  |
      | repeats itself          |
      | falls silent            |

  Scenario: Nobody who has the file is there any more
    Given these peers and files
      | peer | file      | size |
      | anna | notes.txt | 1K   |
      | anna | disk.img  | 8M   |
      | cleo | own.txt   | 1K   |
    When "cleo" sees "disk.img"
    And "anna" dies
    And "cleo" tries to read "disk.img"
    Then it fails within 20 seconds
    And "cleo" can read "own.txt" within 5 seconds
    And "cleo" can list its folder within 5 seconds
    And within 20 seconds "cleo" no longer sees "disk.img"

  Scenario: A downloader that crashed goes on where it was
    Given these peers and files
      | peer | file     | size |
      | anna | disk.img | 16M  |
      | cleo |          |      |
    When "cleo" reads "disk.img"
    Then "cleo" keeps "disk.img" and shares it on
    When "cleo" dies
    And "cleo" comes back
    Then "cleo" can read "disk.img" within 15 seconds
    And "cleo" has downloaded nothing

  Scenario: An uploader that crashed comes back with its files
    Given these peers and files
      | peer | file      | size |
      | anna | notes.txt | 1K   |
      | cleo |           |      |
    When "cleo" sees "notes.txt"
    And "anna" dies
    Then within 20 seconds "cleo" no longer sees "notes.txt"
    When "anna" comes back
    Then "cleo" can read "notes.txt" within 15 seconds

  Scenario: A peer that leaves says so
    Given these peers and files
      | peer | file      | size |
      | anna | notes.txt | 1K   |
      | cleo |           |      |
    When "cleo" sees "notes.txt"
    And the tracking server has settled
    And "anna" leaves
    Then within 4 seconds "cleo" no longer sees "notes.txt"
